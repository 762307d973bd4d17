"""What is to be trained: one recipe on some rows, and such a run while it trains."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from petapter.adapters import AdapterSlots
from petapter.backbone import Backbone
from petapter.head import PetHead, new_head
from petapter.joint.optimizer import Weights
from petapter.runtime.banks import Bank
from petapter.task import EncodedText, Verbalizer, read_verbalizer
from petapter.task.encoding import Windows
from petapter.training.objective import Loss, objective
from petapter.training.options import Recipe, TrainingOptions
from petapter.training.order import batches
from petapter.training.schedule import linear_factor
from petapter.training.trainer import EncodedRows, attach_adapter, drawn_window, plain_recipe, weighted_rows
from petapter_schemas.adapter_spec import AdapterSpec

_SLOT = "begun_here"
_DROPOUT_STREAM = 0x9E3779B9
"""Added to a run's seed for its dropout, so that this and the order of rows are not the same numbers."""


@dataclass(frozen=True)
class JointRun:
    """One module to train.

    Attributes:
        recipe: What the run does, with all options resolved; see `plain_recipe`.
        rows: On which rows, checked before.
    """

    recipe: Recipe
    rows: EncodedRows

    def drawn_rows(self) -> Iterator[list[int]]:
        """The rows of each step."""
        options = self.recipe.options
        lengths = [len(windows[0].input_ids) for windows in self.rows.encoded[0].by_text()]
        return batches(lengths, options.batch_size, options.steps or 0, options.seed, options.order)

    def drawn_tokens(self) -> list[int]:
        """Tokens of each step at most: of each of its rows those of its longest pattern and window."""
        by_pattern = [windows.by_text() for windows in self.rows.encoded]
        longest = [max(len(each.input_ids) for texts in row for each in texts) for row in zip(*by_pattern, strict=True)]
        return [sum(longest[row] for row in chosen) for chosen in self.drawn_rows()]


def rows_without(rows: EncodedRows, left_out: Sequence[int]) -> EncodedRows:
    """The rows but for some, by number; nothing is encoded again."""
    out = set(left_out)
    kept = [row for row in range(len(rows.examples)) if row not in out]
    soft = None if rows.soft is None else rows.soft[kept]
    encoded = [_part(each, kept) for each in rows.encoded]
    return EncodedRows(rows.task, [rows.examples[row] for row in kept], encoded, soft)


def run_without(options: TrainingOptions, rows: EncodedRows, left_out: Sequence[int], backbone: Backbone) -> JointRun:
    """A run of preset `plain` on the rows but for some; the recipe is that for as many rows as are left."""
    seen = rows_without(rows, left_out)
    return JointRun(plain_recipe(options, backbone, len(seen.examples)), seen)


def _part(windows: Windows, kept: Sequence[int]) -> Windows:
    number_of = {row: number for number, row in enumerate(kept)}
    chosen = [at for at, owner in enumerate(windows.owner) if owner in number_of]
    return Windows(
        encoded=tuple(windows.encoded[at] for at in chosen),
        owner=tuple(number_of[windows.owner[at]] for at in chosen),
        text_tokens=tuple(windows.text_tokens[row] for row in kept),
        lost_tokens=tuple(windows.lost_tokens[row] for row in kept),
    )


@dataclass(frozen=True)
class Begun:
    """Where a run starts: what the adapter is, and its first tensors under peft's names."""

    spec: AdapterSpec
    tensors: dict[str, Tensor]


def begin(slots: AdapterSlots, recipe: Recipe, backbone: Backbone) -> Begun:
    """The adapter of a run from the run's seed; the model is bare again afterwards.

    Raises:
        PetapterError: As `attach_adapter`.
    """
    with torch.random.fork_rng([backbone.device] if backbone.device.type == "cuda" else []):
        torch.manual_seed(recipe.options.seed)
        spec = attach_adapter(slots, _SLOT, backbone, recipe)
    if spec.kind == "none":
        return Begun(spec, {})
    tensors = slots.read(_SLOT)
    slots.remove(_SLOT)
    return Begun(spec, tensors)


@dataclass(frozen=True)
class Drawn:
    """What a run reads in a step.

    Attributes:
        pattern: Number of the pattern.
        rows: Numbers of the rows, the shortest text first.
        texts: By row.
    """

    pattern: int
    rows: tuple[int, ...]
    texts: tuple[EncodedText, ...]

    @property
    def tokens(self) -> int:
        """Of all texts."""
        return sum(len(text.input_ids) for text in self.texts)


class Slot:
    """A run while it trains: its weights, and what it draws by generators of its own.

    Attributes:
        number: Of the run.
        run: The run.
        begun: Its adapter.
        bank: Number of the adapter's bank; None without an adapter.
        row: The adapter's weights as one row of the bank, unscaled [P]; None without an adapter.
        scales: What they are multiplied by before they run, [P].
        head: The head.
        verbalizer: What it was made for.
        dropout: Draws what is dropped.
        weights: All that trains.
        steps: To take.
        seconds: The run's share of the time.
    """

    def __init__(
        self, number: int, run: JointRun, begun: Begun, bank: tuple[int, Bank] | None, backbone: Backbone
    ) -> None:
        options = run.recipe.options
        self.number, self.run, self.begun = number, run, begun
        self.bank = None if bank is None else bank[0]
        self._bank = None if bank is None else bank[1]
        self.row: nn.Parameter | None = None
        self.scales = torch.ones(1)
        if self._bank is not None:
            self.row = nn.Parameter(self._bank.flat(begun.tensors).to(backbone.device))
            self.scales = self._bank.scales(begun.spec).to(backbone.device)
        self.verbalizer: Verbalizer = read_verbalizer(run.rows.task, backbone.tokenizer)
        self.head: PetHead = new_head(backbone, self.verbalizer, options.head_choice, options.seed)
        self.dropout = torch.Generator(backbone.device).manual_seed(options.seed + _DROPOUT_STREAM)
        self.steps = options.steps or 0
        self.seconds = 0.0
        self._texts = [windows.by_text() for windows in run.rows.encoded]  # by pattern, text and window
        self._loss: Loss = objective(
            run.rows.task,
            weighted_rows(run.recipe, run.rows),
            options.label_smoothing,
            backbone.device,
            run.rows.soft,
        )
        self._choose = torch.Generator().manual_seed(options.seed)
        self._batches = run.drawn_rows()
        rated = [(self.row, options.adapter_lr), *((each, options.head_lr) for each in self.head.parameters())]
        trained = [(each, rate or 0.0) for each, rate in rated if each is not None and each.requires_grad]
        self.weights = Weights([each for each, _ in trained], [rate for _, rate in trained], options.clip_norm)

    @property
    def options(self) -> TrainingOptions:
        """Of the run."""
        return self.run.recipe.options

    @property
    def step(self) -> int:
        """Steps taken."""
        return self.weights.steps

    @property
    def trains_features(self) -> bool:
        """Whether its head reads masks in a way of its own; else it does so as the backbone's masked LM does."""
        choice = self.options.head_choice
        return choice.init == "random" or "dense" in choice.parts

    @property
    def is_done(self) -> bool:
        """Whether it has taken all its steps."""
        return self.step >= self.steps

    def draw(self) -> Drawn:
        """The rows of the next step, in a pattern and windows that are drawn for it, as `train_plain` draws them."""
        chosen = next(self._batches)
        pattern = int(torch.randint(len(self._texts), (1,), generator=self._choose))
        texts = [drawn_window(self._texts[pattern][row], self._choose) for row in chosen]
        by_length = sorted(range(len(chosen)), key=lambda at: len(texts[at].input_ids))
        return Drawn(pattern, tuple(chosen[at] for at in by_length), tuple(texts[at] for at in by_length))

    def tensors(self) -> dict[str, Tensor]:
        """The adapter's weights as they are now, copies on the CPU under peft's names; none without an adapter."""
        return {} if self._bank is None or self.row is None else self._bank.tensors(self.row.detach().cpu())

    def loss(self, logits: Tensor, drawn: Drawn) -> Tensor:
        """Mean loss of logits [B, L] of the rows of a step."""
        return self._loss(logits, drawn.rows)

    @property
    def factor(self) -> float:
        """What the learning rates are multiplied by in the next step."""
        return linear_factor(self.step, self.steps, self.options.warmup)
