"""Preset `paper`: the training of PETapter as its authors ran it, each of their choices by name.

Rieger, Ruckdeschel, Wiedemann 2024, arXiv 2412.04975. A random head with one row per distinct token, LoRA of rank 8
and alpha 16 on query and value (or (IA)^3 on keys, values and what the activation gets, or bottlenecks of a sixteenth
of the width, both of their layers random at the start), AdamW with a learning rate that falls from 5e-5 to 0 without
warm-up, 30 epochs of batches of 2 in plain shuffled order, float32, the model's own dropout; no development set. The
score of a label is the sum over the masks of its word's tokens, which is petapter's score only where every word fills
every mask: all else is refused.

Three things are not those of the paper's code. Its first weights are drawn before it seeds, so that a run depends on
what ran before it; here the seed decides them. AdapterHub multiplies (IA)^3 into the weights of a layer, but not into
its bias, before it evaluates; here a module answers as it was trained. And a mask that a text spells is ordinary text.
"""

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Final, Literal

from petapter.adapters import AdapterChoice, Ia3Place, lora_adapts_keys
from petapter.backbone import Backbone
from petapter.task import Example, read_verbalizer
from petapter.trained import TrainedModule
from petapter.training.options import Recipe, TrainingOptions
from petapter.training.trainer import OnStep, follow
from petapter_schemas.errors import InputError, TaskError
from petapter_schemas.task import TaskSpec, TokenizationSpec

PAPER_TOKENS = 512
"""The length to which the paper's code pads every text."""

PaperAdapter = Literal["lora", "ia3", "bottleneck"]

_SEED_OF_RUN = 1895
_PLACE: Final[Ia3Place] = "before-activation"
_ADAPTERS: Final = {
    "lora": AdapterChoice(kind="lora", rank=8, alpha=16.0),
    "ia3": AdapterChoice(kind="ia3"),
    "bottleneck": AdapterChoice(kind="bottleneck", reduction=16, placement="pfeiffer", up_std=0.02),
}
"""The paper's three, on the layers that are the defaults of each; the place of (IA)^3 is a switch."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PaperOptions:
    """The paper's choices; the defaults are its own but for `pad`, which changes only time and what dropout draws.

    Attributes:
        run: Which of the repeated runs, from 1; the seed is 1895 times it.
        adapter: LoRA on query and value, (IA)^3, or bottlenecks after the feed-forward blocks.
        epochs: How often every row is read; n rows make epochs * ceil(n / batch_size) steps.
        batch_size: Rows per step; the last batch of an epoch may be smaller.
        lr: Learning rate of adapter and head at the first step.
        pad: Pad every text to 512 tokens, or only to the longest of its batch.
        verbalizer_space: Read words with the space that stands before them in the pattern; the paper reads them bare.
        truncate_verbalizer: Cut a word of more tokens than there are masks, with a warning; else it is refused.
        text_apart: Tokenise the text by itself, without a space before it, and put it into the tokens of the pattern.
        ia3_place: Where (IA)^3 scales the feed-forward block: what its activation gets, as in the AdapterHub that the
            paper used, or what it gives, as in the work that introduced it.
    """

    run: int = 1
    adapter: PaperAdapter = "lora"
    epochs: int = 30
    batch_size: int = 2
    lr: float = 5e-5
    pad: Literal[512, "dynamic"] = "dynamic"
    verbalizer_space: bool = False
    truncate_verbalizer: bool = True
    text_apart: bool = True
    ia3_place: Ia3Place = _PLACE

    def __post_init__(self) -> None:
        if min(self.run, self.epochs, self.batch_size) < 1:
            raise InputError("run, epochs and batch size must be 1 or more: the paper's runs are 1 to 5")
        if self.adapter not in _ADAPTERS:
            raise InputError(f"the paper has no adapter {self.adapter!r}: take one of {', '.join(_ADAPTERS)}")
        if not self.lr > 0:
            raise InputError(f"the learning rate is {self.lr}: it must be more than 0")
        if self.pad not in {PAPER_TOKENS, "dynamic"}:
            raise InputError(f"pad is {self.pad!r}: write {PAPER_TOKENS} or dynamic")
        if self.ia3_place != _PLACE and self.adapter != "ia3":
            raise InputError(f"ia3_place belongs to adapter ia3, not {self.adapter}: drop it")
        self._adapter_choice()

    @property
    def seed(self) -> int:
        """Of initial weights, order of rows and dropout."""
        return _SEED_OF_RUN * self.run

    @property
    def tokenization(self) -> TokenizationSpec:
        """How words and texts become tokens; part of the module, so that prediction reads them alike."""
        return TokenizationSpec(
            words="in-pattern" if self.verbalizer_space else "bare",
            long_words="cut" if self.truncate_verbalizer else "refuse",
            texts="apart" if self.text_apart else "in-pattern",
        )

    def recipe(self, rows: int) -> Recipe:
        """What a run on a number of rows does."""
        options = TrainingOptions(
            seed=self.seed,
            adapter=self._adapter_choice(),
            head_init="random",
            steps=self.epochs * max(1, -(-rows // self.batch_size)),
            batch_size=self.batch_size,
            adapter_lr=self.lr,
            head_lr=self.lr,
            warmup=0.0,
            label_smoothing=0.0,
            clip_norm=1.0,
            order="shuffled",
            pad_to=PAPER_TOKENS if self.pad == PAPER_TOKENS else None,
        )
        return Recipe("paper", options, options.hyperparameters() | asdict(self))

    def _adapter_choice(self) -> AdapterChoice:
        choice = _ADAPTERS[self.adapter]
        return replace(choice, ia3_place=self.ia3_place) if choice.kind == "ia3" else choice


def train_paper(
    task: TaskSpec,
    examples: Sequence[Example],
    backbone: Backbone,
    options: PaperOptions | None = None,
    *,
    on_step: OnStep | None = None,
) -> TrainedModule:
    """Train a module as the paper does.

    Args:
        task: One pattern that keeps the head of long texts, and one word per label; how words and texts are tokenised
            is decided by the options.
        examples: Labelled rows.
        backbone: The masked language model; its head is not used.
        options: The paper's own by default.
        on_step: As in `train`.

    Raises:
        TaskError: The task is none that the paper's method can solve, or as in `train`.
        InputError: The backbone is too short for `pad`, or training diverged.
        BackboneError: The backbone lacks a needed part, or an engine has it.
    """
    chosen = options or PaperOptions()
    read = paper_task(task, backbone, chosen)
    return follow(chosen.recipe(len(examples)), read, examples, backbone, on_step=on_step)


def paper_task(task: TaskSpec, backbone: Backbone, options: PaperOptions) -> TaskSpec:
    """A task as the paper reads it.

    Raises:
        TaskError: It is none that the paper's method can solve.
        InputError: The backbone is too short for `pad`.
        BackboneError: The backbone has no place for the adapter.
    """
    _check_shape(task)
    if options.pad == PAPER_TOKENS > backbone.max_tokens:
        raise InputError(
            f"pad is {PAPER_TOKENS}, but {backbone.repo!r} reads {backbone.max_tokens} tokens: choose pad dynamic"
        )
    read = task.model_copy(update={"tokenization": options.tokenization})
    _check_words(read, backbone)
    if options.adapter == "lora" and lora_adapts_keys(backbone.model):
        logger.warning(
            "one projection of %r gives queries, keys and values, so the LoRA of preset paper adapts the keys too, "
            "which the paper leaves alone: compare with the paper's figures on another backbone",
            backbone.repo,
        )
    return read


def _check_shape(task: TaskSpec) -> None:
    """Refuse what the paper's method has no word for."""
    if task.type != "single-label":
        raise TaskError("the paper preset gives every text one label: make one two-label task per label")
    if len(task.patterns) > 1:
        raise TaskError(f"the paper preset trains one pattern, but the task has {len(task.patterns)}: keep one of them")
    if task.patterns[0].keep != "head":
        raise TaskError(f"the paper preset cuts long texts on the right: write keep: head, not {task.patterns[0].keep}")
    if several := [label for label in task.labels if len(label.words) > 1]:
        raise TaskError(
            f"the paper preset reads one word per label, but label {several[0].name!r} has {len(several[0].words)}: "
            "keep one of them"
        )


def _check_words(task: TaskSpec, backbone: Backbone) -> None:
    """Refuse words that leave a mask empty; longer ones, unknown ones and equal ones are for the checks of `train`."""
    masks = task.patterns[0].masks
    for label, (ids,) in zip(task.labels, read_verbalizer(task, backbone.tokenizer).ids, strict=True):
        if len(ids) < masks:
            raise TaskError(
                f"word {label.words[0]!r} of label {label.name!r} has {len(ids)} of the {masks} tokens that the masks "
                "of the pattern ask for in the paper preset: choose a longer word, or drop a mask"
            )
