"""What can be chosen about tuning."""

from dataclasses import asdict, dataclass

from petapter.adapters import AdapterChoice
from petapter.adapters.architectures import places
from petapter.backbone import Backbone
from petapter.training.options import TrainingOptions
from petapter.training.trunk import upper_layers
from petapter_schemas.errors import InputError

_LR_TIMES_WIDTH = 1.92
"""As of preset `strong`'s delta, which has the same form."""
_GENERATIONS = (1, 2)


@dataclass(frozen=True)
class TuneOptions:
    """Choices of one tuning.

    Attributes:
        patterns: Most patterns in which members are trained, the best of the pool on the rows of each fold.
        seeds: Members of each pattern and fold.
        folds: Into which rows are spread; each is left out once, with all that was found on the others.
        steps: Optimiser steps of a member.
        student_steps: Of the module that learns what the members say; half as many without texts without labels.
        batch_size: Rows per step of a member: few, since noise is what a vote takes away, and each row costs.
        student_batch_size: Rows per step of the student.
        rank: Of their LoRA on every linear map of the upper layers.
        own_share: How much of a labelled row's target is its own label where the student learns from the vote.
        temperature: By which the vote is softened before the student learns it; Schick and Schütze (2021,
            arXiv 2001.07676) take 2.
        generations: Of students, 1 or 2; two need texts without labels (petapter/tuning/students.py).
        most_unlabelled: Texts without labels that are asked, drawn at random from more.
        mine_words: Whether further label words are mined, again for every fold (petapter/tuning/words.py).
        memory_bytes: What training may take beside the backbone; None leaves it to the machine.
    """

    patterns: int = 4
    seeds: int = 3
    folds: int = 5
    steps: int = 80
    student_steps: int = 160
    batch_size: int = 4
    student_batch_size: int = 8
    rank: int = 1
    own_share: float = 0.5
    temperature: float = 2.0
    generations: int = 1
    most_unlabelled: int = 300
    mine_words: bool = False
    memory_bytes: int | None = None

    def __post_init__(self) -> None:
        counts = (self.patterns, self.seeds, self.steps, self.student_steps, self.rank)
        if min(*counts, self.batch_size, self.student_batch_size) < 1:
            raise InputError("patterns, seeds, steps, batch size and rank must be 1 or more")
        if self.folds < 2:  # noqa: PLR2004 (without its only fold a run has no rows)
            raise InputError(f"rows are left out in two folds or more, not {self.folds}")
        if self.generations not in _GENERATIONS:
            raise InputError(f"students are taught in 1 or 2 generations, not {self.generations}")
        if not 0 <= self.own_share <= 1 or self.temperature <= 0 or self.most_unlabelled < 0:
            raise InputError("own_share is a share, temperature above 0, and most_unlabelled 0 or more")

    @property
    def at_once(self) -> int:
        """Members that train in one stack and are kept together: those of a fold."""
        return self.seeds * self.patterns

    def of_members(self, backbone: Backbone) -> TrainingOptions:
        """How a member trains, but for its seed: the upper layers alone, so that those below run once per text."""
        return self._options(backbone, self.steps, self.batch_size)

    def of_student(self, backbone: Backbone, texts: int) -> TrainingOptions:
        """How the student trains where there are so many texts without labels."""
        steps = self.student_steps if texts else -(-self.student_steps // 2)
        return self._options(backbone, steps, self.student_batch_size)

    def identity(self) -> dict[str, bool | int | float | str]:
        """What decides results: all but the memory, which does not."""
        return {key: value for key, value in asdict(self).items() if key != "memory_bytes"}

    def _options(self, backbone: Backbone, steps: int, batch_size: int) -> TrainingOptions:
        layers = upper_layers(backbone)
        chosen = None if len(layers) == backbone.layers else tuple(layers)
        linear = places(backbone.model.config.model_type, "lora").linear
        adapter = AdapterChoice(rank=self.rank, alpha=2.0 * self.rank, targets=linear, layers=chosen)
        rate = _LR_TIMES_WIDTH / backbone.hidden_size
        return TrainingOptions(steps=steps, batch_size=batch_size, adapter=adapter, adapter_lr=rate)
