"""What a tuning found: every pattern, the vote, the modules that might be shipped, and the one that is."""

from dataclasses import dataclass

from petapter.evaluation.comparison import Difference
from petapter.selection.choosing import Choice
from petapter.trained import TrainedModule
from petapter.tuning.words import FoldWords
from petapter_schemas.manifest import Interval

DISTILLED = "distilled"
STRONG = "strong"
TRANSFERRED = "transferred"
"""As DISTILLED, begun at the adapter of another task's module."""


@dataclass(frozen=True)
class PatternStanding:
    """A pattern of the pool.

    Attributes:
        name: In the pool.
        template: As it is written.
        origin: Where it comes from.
        frozen_loss: Mean loss of rows that were left out by its convex head, nats.
        frozen_accuracy: On them.
        folds: In how many folds it was among the best without that fold.
        loss: Mean loss of the members trained in it on the rows of those folds, None without any.
        accuracy: Likewise.
        is_asked: Whether the final module asks in it.
    """

    name: str
    template: str
    origin: str
    frozen_loss: float
    frozen_accuracy: float
    folds: int
    loss: float | None
    accuracy: float | None
    is_asked: bool = False


@dataclass(frozen=True)
class Voted:
    """All members and the convex head together, which is too much to ship.

    Attributes:
        members: How many were trained.
        diverged: How many of them were left out since their training diverged.
        accuracy: On rows that were left out, with all that was chosen without them.
        interval: Of it.
        loss: On them, nats.
    """

    members: int
    diverged: int
    accuracy: float
    interval: Interval
    loss: float


@dataclass(frozen=True)
class Finalist:
    """A module that might be shipped.

    Attributes:
        name: DISTILLED, TRANSFERRED or STRONG.
        rows: How many rows it was left without.
        accuracy: On them.
        loss: On them, nats.
        behind_vote: How much more often the vote is right on these rows, in shares.
        fidelity: Share of the texts that it did not see labelled on which it says what the vote says; None for STRONG.
    """

    name: str
    rows: int
    accuracy: float
    loss: float
    behind_vote: Difference
    fidelity: float | None


@dataclass(frozen=True)
class Tuned:
    """The result.

    Attributes:
        module: The one to ship.
        patterns: All of the pool, the best by its frozen loss first.
        vote: Of all members.
        finalists: What the module was chosen from.
        choice: Between them; its score has paid for the whole search.
        optimism: How much better the patterns of all rows look than those chosen without the rows they are asked about,
            in shares; taken from the score of STRONG, whose patterns were chosen with all rows.
        notes: What people should know.
        seconds: All of it took, without parts that an earlier run had finished.
        words: Label words that were mined; None where that was not asked.
    """

    module: TrainedModule
    patterns: tuple[PatternStanding, ...]
    vote: Voted
    finalists: tuple[Finalist, ...]
    choice: Choice
    optimism: float
    notes: tuple[str, ...]
    seconds: float
    words: FoldWords | None = None

    @property
    def chosen(self) -> Finalist:
        """The finalist that is shipped."""
        return self.finalists[self.choice.chosen]

    @property
    def accuracy(self) -> float:
        """What the module is worth on texts like the rows; it has paid for the search."""
        return max(0.0, self.choice.accuracy - self._excess)

    @property
    def interval(self) -> Interval:
        """How sure that is."""
        own = self.choice.interval
        low, high = max(0.0, own.low - self._excess), max(0.0, own.high - self._excess)
        return own.model_copy(update={"low": low, "high": high})

    @property
    def _excess(self) -> float:
        return self.optimism if self.chosen.name == STRONG else 0.0
