"""Trains one module: adapter and head move, the backbone stays frozen, a fixed number of steps, no development set."""

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LRScheduler

from petapter.adapters import AdapterSlots, adapter_spec, config_values, peft_config
from petapter.backbone import Backbone
from petapter.golden import probe_texts, record_golden
from petapter.head import PetHead, head_spec, new_head, part_parameters
from petapter.scoring import score
from petapter.task import (
    EncodedText,
    Example,
    Verbalizer,
    Windows,
    encode_rows,
    lint_task,
    pad_batch,
    read_verbalizer,
)
from petapter.trained import TrainedModule
from petapter.training.evidence import row_weights, targets_of
from petapter.training.objective import objective
from petapter.training.options import Recipe, TrainingOptions
from petapter.training.order import batches
from petapter.training.profiling import profile_rows
from petapter.training.record import Outcome, peak_memory_bytes, training_spec
from petapter.training.schedule import linear_schedule
from petapter_schemas.adapter_spec import AdapterSpec
from petapter_schemas.errors import InputError, TaskError
from petapter_schemas.golden import Golden
from petapter_schemas.task import TaskSpec

logger = logging.getLogger(__name__)

OnStep = Callable[[int, int, float], None]
"""Called after each step with the step, the number of steps and the loss."""

_SLOT = "trained_here"


@dataclass(frozen=True)
class RunResult:
    """What a run leaves behind.

    Attributes:
        adapter: What was added to the backbone.
        tensors: Its tensors under peft's names.
        golden: What the module says of the probe texts.
        outcome: Steps, time and memory.
    """

    adapter: AdapterSpec
    tensors: dict[str, Tensor]
    golden: Golden
    outcome: Outcome


def train_plain(
    task: TaskSpec,
    examples: Sequence[Example],
    backbone: Backbone,
    options: TrainingOptions | None = None,
    *,
    on_step: OnStep | None = None,
) -> TrainedModule:
    """Train a module: one adapter and the head together, from the first step to the last.

    Each step minimises the loss (petapter/training/objective.py) of the label logits of a batch under one of the task's
    patterns, drawn at random. Of a text that is read in windows a step draws one, so that each of its n windows counts
    1/n of a row. Rows count by their weights; where the task states a class prior, each label counts as often as it
    says (`row_weights`). The backbone is bare again afterwards, also when training fails.

    Raises:
        TaskError: The task or the rows cannot work; the message names the first problem.
        InputError: Training diverged.
        BackboneError: The backbone lacks a needed part, or an engine has it.
    """
    recipe = plain_recipe(options or TrainingOptions(), backbone, len(examples))
    return follow(recipe, task, examples, backbone, on_step=on_step)


def plain_recipe(options: TrainingOptions, backbone: Backbone, rows: int) -> Recipe:
    """What a run of preset `plain` on a number of rows does."""
    chosen = options.resolved(rows, backbone.hidden_size, has_mlm_head=backbone.has_mlm_head)
    return Recipe("plain", chosen, chosen.hyperparameters(), weights="class-prior")


@dataclass(frozen=True)
class EncodedRows:
    """Labelled rows and what the backbone reads of them.

    Attributes:
        task: Its patterns.
        examples: The rows.
        encoded: The rows by pattern.
        soft: Probabilities [N, L] to learn instead of the labels of the rows; None for these.
    """

    task: TaskSpec
    examples: Sequence[Example]
    encoded: Sequence[Windows]
    soft: Tensor | None = None


def follow(
    recipe: Recipe,
    task: TaskSpec,
    examples: Sequence[Example],
    backbone: Backbone,
    *,
    on_step: OnStep | None = None,
) -> TrainedModule:
    """Train a module as `train_plain` does, by a recipe: what every preset comes down to.

    Raises:
        PetapterError: As `train_plain`.
    """
    rows = EncodedRows(task, examples, checked_rows(task, examples, backbone))
    tell_of_random_heads([recipe], backbone)
    return follow_encoded(recipe, rows, backbone, on_step=on_step)


def follow_encoded(
    recipe: Recipe, rows: EncodedRows, backbone: Backbone, *, on_step: OnStep | None = None
) -> TrainedModule:
    """Train as `follow` does on rows that were checked before, alone or among others.

    Raises:
        InputError: Training diverged.
        BackboneError: The backbone lacks a needed part, or an engine has it.
    """
    options = recipe.options
    verbalizer = read_verbalizer(rows.task, backbone.tokenizer)
    slots = AdapterSlots(backbone.model)
    devices = [backbone.device] if backbone.device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        try:
            head = new_head(backbone, verbalizer, options.head_choice, options.seed)
            run = TrainingRun(recipe, rows, backbone, head)
            torch.manual_seed(options.seed)
            adapter = attach_adapter(slots, _SLOT, backbone, recipe)
            outcome = _run(run, on_step)
            tensors = slots.read(_SLOT) if adapter.kind != "none" else {}
            golden = _golden(run)
        finally:
            slots.close()
            backbone.model.eval()
    return collect_module(run, verbalizer, RunResult(adapter, tensors, golden, outcome))


@dataclass(frozen=True)
class TrainingRun:
    """The parts of one run."""

    recipe: Recipe
    rows: EncodedRows
    backbone: Backbone
    head: PetHead


def checked_rows(task: TaskSpec, examples: Sequence[Example], backbone: Backbone) -> list[Windows]:
    """Every row in every pattern, once for the whole run."""
    backbone.check_trains()
    if not examples:
        raise TaskError("there are no rows to train on")
    encoded = encode_rows(task, backbone.tokenizer, backbone.max_tokens, examples)
    findings = lint_task(task, backbone.tokenizer, backbone.max_tokens, examples, encoded=encoded)
    for finding in findings:
        if finding.severity == "error":
            raise TaskError(finding.message)
        logger.warning("%s", finding.message)
    return encoded


def tell_of_random_heads(recipes: Iterable[Recipe], backbone: Backbone) -> None:
    """Warn once where heads begin at random because, or although, the backbone has no masked-LM head."""
    if not backbone.has_mlm_head and any(recipe.options.head_choice.init == "random" for recipe in recipes):
        logger.warning(
            "%s comes without a masked-LM head: the head begins at random, where the words of the labels mean nothing",
            backbone.repo,
        )


def as_one(on_step: OnStep | None, steps: Sequence[int]) -> list[OnStep | None]:
    """What each of several runs is to call, so that their steps are told as those of one."""
    if on_step is None:
        return [None] * len(steps)
    tell, total = on_step, sum(steps)

    def part(before: int) -> OnStep:
        return lambda step, _, loss: tell(before + step, total, loss)

    return [part(sum(steps[:index])) for index in range(len(steps))]


def attach_adapter(slots: AdapterSlots, name: str, backbone: Backbone, recipe: Recipe) -> AdapterSpec:
    """Put the adapter of a recipe into its backbone as it begins: as peft draws it, or at the weights it starts from.

    Raises:
        BackboneError: The backbone has no place for it.
        TensorFileError: The weights to start from do not fit.
    """
    choice = recipe.options.adapter_choice
    spec = adapter_spec(choice, backbone.model)
    if spec.kind != "none":
        slots.add(name, peft_config(spec, dropout=choice.dropout, up_std=choice.up_std, repo=backbone.repo))
    if recipe.start is not None:
        slots.write(name, recipe.start)
    return spec


def _stored_config(adapter: AdapterSpec, backbone: Backbone) -> dict[str, object] | None:
    return None if adapter.kind == "none" else config_values(peft_config(adapter, repo=backbone.repo))


def _run(run: TrainingRun, on_step: OnStep | None) -> Outcome:
    started = time.perf_counter()
    options, backbone = run.recipe.options, run.backbone
    encoded = [windows.by_text() for windows in run.rows.encoded]  # by pattern, text and window
    steps = options.steps or 0
    adapter = [parameter for parameter in backbone.model.parameters() if parameter.requires_grad]
    optimizer, scheduler = _optimizer(adapter, run.head, options, steps)
    rows_of, soft = weighted_rows(run.recipe, run.rows), run.rows.soft
    loss_of = objective(run.rows.task, rows_of, options.label_smoothing, backbone.device, soft)
    trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    choose = torch.Generator().manual_seed(options.seed)
    backbone.model.train()
    lengths = [len(windows[0].input_ids) for windows in encoded[0]]
    order = batches(lengths, options.batch_size, steps, options.seed, options.order)
    for step, rows in enumerate(order, start=1):
        pattern = int(torch.randint(len(encoded), (1,), generator=choose))
        drawn = [drawn_window(encoded[pattern][row], choose) for row in rows]
        batch = pad_batch(drawn, backbone.pad_id, at_least=options.pad_to or 0)
        loss = loss_of(run.head(backbone.read(batch, run.head.shape.pool_layers), pattern), rows)
        loss.backward()
        nn.utils.clip_grad_norm_(trained, options.clip_norm)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad(set_to_none=True)
        if on_step is not None:
            on_step(step, steps, float(loss.detach()))
    return Outcome(steps, time.perf_counter() - started, peak_memory_bytes(backbone))


def weighted_rows(recipe: Recipe, rows: EncodedRows) -> Sequence[Example]:
    """The rows with the weights by which the loss counts them."""
    task, examples = rows.task, rows.examples
    if recipe.weights == "own" or task.class_prior is None:
        return examples
    weights = row_weights(task, examples, targets_of(task, examples)).tolist()
    return [replace(example, weight=weight) for example, weight in zip(examples, weights, strict=True)]


def drawn_window(windows: Sequence[EncodedText], choose: torch.Generator) -> EncodedText:
    """One of a text's windows; a single one needs no draw, so that it takes no number from the generator."""
    if len(windows) == 1:
        return windows[0]
    return windows[int(torch.randint(len(windows), (1,), generator=choose))]


def _optimizer(
    adapter: list[nn.Parameter], head: PetHead, options: TrainingOptions, steps: int
) -> tuple[AdamW, LRScheduler]:
    groups = [
        {"params": adapter, "lr": options.adapter_lr or 0.0},
        {"params": [p for p in head.parameters() if p.requires_grad], "lr": options.head_lr or 0.0},
    ]
    optimizer = AdamW([group for group in groups if group["params"]], weight_decay=0.0)
    return optimizer, linear_schedule(optimizer, steps, options.warmup)


def _golden(run: TrainingRun) -> Golden:
    run.backbone.model.eval()
    texts = probe_texts(run.rows.task.fields)
    scores = score(run.backbone, run.head, run.rows.task, texts, None)
    if not bool(torch.isfinite(scores.log_probabilities).all()):
        raise InputError("training diverged, its scores are no numbers: choose a lower learning rate")
    return record_golden(texts, scores)


def collect_module(run: TrainingRun, verbalizer: Verbalizer, result: RunResult) -> TrainedModule:
    """The module that a run has made of its head and what it leaves behind."""
    options, backbone, adapter, outcome = run.recipe.options, run.backbone, result.adapter, result.outcome
    parts = options.head_choice.parts
    head_tensors = {
        name: parameter.detach().cpu().clone() for name, parameter in part_parameters(run.head, parts).items()
    }
    return TrainedModule(
        task=run.rows.task,
        backbone=backbone.spec(verbalizer),
        adapter=adapter,
        head=head_spec(run.head, options.head_choice.init, parts),
        training=training_spec(
            run.rows.task,
            run.rows.examples,
            backbone,
            outcome,
            preset=run.recipe.preset,
            seed=options.seed,
            hyperparameters=run.recipe.hyperparameters,
        ),
        calibration=None,
        golden=result.golden,
        adapter_config=_stored_config(adapter, backbone),
        adapter_tensors=result.tensors,
        head_tensors=head_tensors,
        profile=profile_rows(run.rows.task, run.rows.examples, backbone, None),
    )
