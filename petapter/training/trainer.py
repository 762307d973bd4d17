"""Trains one module: adapter and head move, the backbone stays frozen, a fixed number of steps, no development set."""

import logging
import platform
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version

import torch
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from petapter.adapters import AdapterSlots, config_values, lora_config
from petapter.adapters.lora import lora_targets
from petapter.backbone import Backbone
from petapter.golden import probe_texts, record_golden
from petapter.head import PetHead, new_head, part_parameters, trained_parts
from petapter.scoring import score
from petapter.task import (
    EncodedText,
    Encoder,
    Example,
    Verbalizer,
    lint_task,
    pad_batch,
    read_verbalizer,
    rows_digest,
)
from petapter.trained import TrainedModule
from petapter.training.options import TrainingOptions
from petapter.training.order import batches
from petapter_schemas.errors import InputError, TaskError
from petapter_schemas.golden import Golden
from petapter_schemas.manifest import AdapterSpec, HeadSpec, TrainingSpec
from petapter_schemas.task import TaskSpec

logger = logging.getLogger(__name__)

OnStep = Callable[[int, int, float], None]
"""Called after each step with the step, the number of steps and the loss."""

_SLOT = "trained_here"
_PRESET = "plain"


@dataclass(frozen=True)
class _Outcome:
    """What a run measured about itself."""

    steps: int
    seconds: float
    peak_memory_bytes: int


@dataclass(frozen=True)
class _Result:
    """What a run leaves behind."""

    adapter: AdapterSpec
    tensors: dict[str, Tensor]
    golden: Golden
    outcome: _Outcome


def train(
    task: TaskSpec,
    examples: Sequence[Example],
    backbone: Backbone,
    options: TrainingOptions | None = None,
    *,
    on_step: OnStep | None = None,
) -> TrainedModule:
    """Train a module on labelled examples.

    Each step minimises the cross-entropy of the label logits of a batch under one of the task's patterns, drawn at
    random. The backbone is bare again afterwards, also when training fails.

    Raises:
        TaskError: The task or the rows cannot work; the message names the first problem.
        InputError: Training diverged.
        BackboneError: The backbone lacks a needed part, or an engine has it.
    """
    options = (options or TrainingOptions()).resolved(len(examples), backbone.hidden_size)
    _check(task, examples, backbone)
    verbalizer = read_verbalizer(task, backbone.tokenizer)
    slots = AdapterSlots(backbone.model)
    devices = [backbone.device] if backbone.device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        try:
            head = new_head(backbone, verbalizer, options.head_init, options.seed)
            run = _Run(task, examples, backbone, head, options)
            torch.manual_seed(options.seed)
            adapter = _attach(slots, backbone, options)
            outcome = _run(run, on_step)
            tensors = slots.read(_SLOT) if adapter.kind != "none" else {}
            golden = _golden(run)
        finally:
            slots.close()
            backbone.model.eval()
    return _collect(run, verbalizer, _Result(adapter, tensors, golden, outcome))


@dataclass(frozen=True)
class _Run:
    """The parts of one run."""

    task: TaskSpec
    examples: Sequence[Example]
    backbone: Backbone
    head: PetHead
    options: TrainingOptions


def _check(task: TaskSpec, examples: Sequence[Example], backbone: Backbone) -> None:
    if task.type != "single-label":
        raise TaskError("multi-label tasks cannot be trained yet: make one two-label task per label")
    if not examples:
        raise TaskError("there are no rows to train on")
    findings = lint_task(task, backbone.tokenizer, backbone.max_tokens, examples)
    for finding in findings:
        if finding.severity == "error":
            raise TaskError(finding.message)
        logger.warning("%s", finding.message)


def _attach(slots: AdapterSlots, backbone: Backbone, options: TrainingOptions) -> AdapterSpec:
    if options.rank == 0:
        return AdapterSpec(kind="none", parameters=0)
    draft = AdapterSpec(
        kind="lora",
        rank=options.rank,
        alpha=options.alpha,
        targets=lora_targets(backbone.model.config.model_type),
        parameters=1,
    )
    slots.add(_SLOT, lora_config(draft, repo=backbone.repo))
    parameters = sum(tensor.numel() for tensor in slots.read(_SLOT).values())
    return draft.model_copy(update={"parameters": parameters})


def _run(run: _Run, on_step: OnStep | None) -> _Outcome:
    started = time.perf_counter()
    options, backbone = run.options, run.backbone
    encoded = _encode(run)
    targets = _targets(run)
    steps = options.steps or 0
    adapter = [parameter for parameter in backbone.model.parameters() if parameter.requires_grad]
    optimizer, scheduler = _optimizer(adapter, run.head, options, steps)
    loss_of = nn.CrossEntropyLoss(label_smoothing=options.label_smoothing)
    trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    choose = torch.Generator().manual_seed(options.seed)
    backbone.model.train()
    lengths = [len(item.input_ids) for item in encoded[0]]
    for step, rows in enumerate(batches(lengths, options.batch_size, steps, options.seed), start=1):
        pattern = int(torch.randint(len(encoded), (1,), generator=choose))
        batch = pad_batch([encoded[pattern][row] for row in rows], backbone.pad_id)
        loss = loss_of(run.head(backbone.hidden_at_masks(batch)), targets[rows])
        loss.backward()
        nn.utils.clip_grad_norm_(trained, options.clip_norm)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad(set_to_none=True)
        if on_step is not None:
            on_step(step, steps, float(loss.detach()))
    return _Outcome(steps, time.perf_counter() - started, _peak_memory_bytes(backbone))


def _encode(run: _Run) -> list[list[EncodedText]]:
    """Every row in every pattern, once for the whole run."""
    texts = [example.fields for example in run.examples]
    return [
        Encoder(run.backbone.tokenizer, pattern, run.backbone.max_tokens).encode(texts) for pattern in run.task.patterns
    ]


def _targets(run: _Run) -> Tensor:
    index = {name: position for position, name in enumerate(run.task.label_names)}
    return torch.tensor([index[example.label] for example in run.examples], device=run.backbone.device)


def _optimizer(
    adapter: list[nn.Parameter], head: PetHead, options: TrainingOptions, steps: int
) -> tuple[AdamW, LambdaLR]:
    groups = [
        {"params": adapter, "lr": options.adapter_lr or 0.0},
        {"params": [p for p in head.parameters() if p.requires_grad], "lr": options.head_lr or 0.0},
    ]
    optimizer = AdamW([group for group in groups if group["params"]], weight_decay=0.0)
    warmup = max(1, round(options.warmup * steps))

    def factor(step: int) -> float:
        return min((step + 1) / warmup, (steps - step) / max(1, steps - warmup))

    return optimizer, LambdaLR(optimizer, factor)


def _golden(run: _Run) -> Golden:
    run.backbone.model.eval()
    texts = probe_texts(run.task.fields)
    scores = score(run.backbone, run.head, run.task, texts, None)
    if not bool(torch.isfinite(scores.log_probabilities).all()):
        raise InputError("training diverged, its scores are no numbers: choose a lower learning rate")
    return record_golden(texts, scores)


def _collect(run: _Run, verbalizer: Verbalizer, result: _Result) -> TrainedModule:
    options, backbone, adapter, outcome = run.options, run.backbone, result.adapter, result.outcome
    parts = trained_parts(options.head_init)
    head_tensors = {
        name: parameter.detach().cpu().clone() for name, parameter in part_parameters(run.head, parts).items()
    }
    counts = Counter(example.label for example in run.examples)
    return TrainedModule(
        task=run.task,
        backbone=backbone.spec(verbalizer),
        adapter=adapter,
        head=HeadSpec(
            init=options.head_init,
            parts=parts,
            activation=run.head.activation_name,
            norm_eps=run.head.norm.eps,
            parameters=sum(tensor.numel() for tensor in head_tensors.values()),
        ),
        training=TrainingSpec(
            preset=_PRESET,
            examples_per_class=tuple(counts[name] for name in run.task.label_names),
            rows_sha256=rows_digest(run.examples),
            seeds=(options.seed,),
            steps=outcome.steps,
            seconds=round(outcome.seconds, 3),
            peak_memory_bytes=outcome.peak_memory_bytes,
            hardware=_hardware(backbone),
            libraries={name: version(name) for name in ("torch", "transformers", "peft")},
            hyperparameters=options.hyperparameters(),
        ),
        calibration=None,
        golden=result.golden,
        adapter_config=config_values(lora_config(adapter, repo=backbone.repo)) if adapter.kind == "lora" else None,
        adapter_tensors=result.tensors,
        head_tensors=head_tensors,
    )


def _peak_memory_bytes(backbone: Backbone) -> int:
    if backbone.device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(backbone.device))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts in KiB


def _hardware(backbone: Backbone) -> str:
    if backbone.device.type == "cuda":
        return torch.cuda.get_device_name(backbone.device)
    return f"{platform.machine()} CPU, {torch.get_num_threads()} threads"
