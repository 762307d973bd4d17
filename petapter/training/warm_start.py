"""Begins a module where another adapter ended: somebody's LoRA of peft, or that of a module of another task.

Only what the adapter does inside the layers is carried over. Its classification head cannot be: a PET head reads masks
and words. Whatever else would change what the tensors mean is refused by name.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from petapter.adapters import AdapterChoice, adapter_spec, check_config
from petapter.backbone import Backbone
from petapter.task import Example
from petapter.trained import TrainedModule
from petapter.training.options import STARTED_FROM, TrainingOptions
from petapter.training.trainer import OnStep, follow, plain_recipe
from petapter_schemas import strict_json
from petapter_schemas.adapter_files import ADAPTER_CONFIG_FILE, ADAPTER_FILE, PEFT_PREFIX, PEFT_TYPES
from petapter_schemas.digests import sha256_bytes
from petapter_schemas.errors import InputError, ManifestError, TensorFileError
from petapter_schemas.task import TaskSpec
from petapter_schemas.tensor_header import read_tensor_header

_HEADS = frozenset({"classifier", "pre_classifier", "score"})
"""What transformers calls the heads of its sequence classifiers."""
_LORA = "LORA"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class AdapterStart:
    """An adapter to begin with.

    Attributes:
        choice: What it is and where, as its configuration says.
        tensors: Of its layers, under peft's names, in float32.
        sha256: Of adapter_model.safetensors.
    """

    choice: AdapterChoice
    tensors: Mapping[str, Tensor]
    sha256: str


def train_from(
    start: AdapterStart,
    task: TaskSpec,
    examples: Sequence[Example],
    backbone: Backbone,
    options: TrainingOptions | None = None,
    *,
    on_step: OnStep | None = None,
) -> TrainedModule:
    """Train as preset `plain` does, but let the adapter begin with these weights.

    Args:
        start: Of this backbone.
        task: Labels, words and patterns.
        examples: Labelled rows.
        backbone: The frozen masked language model.
        options: As of preset `plain`; the adapter is the start's own.
        on_step: Called after each step.

    Raises:
        TensorFileError: The tensors do not fit the backbone.
        PetapterError: As `train_plain`.
    """
    chosen = replace(options or TrainingOptions(), adapter=start.choice)
    recipe = plain_recipe(chosen, backbone, len(examples))
    begun = replace(recipe, start=start.tensors, hyperparameters={**recipe.hyperparameters, STARTED_FROM: start.sha256})
    return follow(begun, task, examples, backbone, on_step=on_step)


def start_of(module: TrainedModule, name: str, sha256: str, backbone: Backbone) -> AdapterStart:
    """The adapter of a module as a start; its head is left, since it belongs to the labels of its own task.

    Args:
        module: Checked against the backbone before, see `open_module`.
        name: For messages.
        sha256: Of its adapter_model.safetensors.
        backbone: What it was trained on.

    Raises:
        InputError: It has no adapter, or one that cannot be trained further.
        BackboneError: The backbone has no such layers.
    """
    spec = module.adapter
    if spec.kind == "none":
        raise InputError(f"{name} has no adapter, its head alone was trained: begin with another module")
    if spec.dtype == "int8":
        raise InputError(f"the adapter of {name} is stored in int8 and cannot be trained further: begin with another")
    targets = tuple(dict.fromkeys((*spec.targets, *spec.feedforward)))
    choice = replace(
        AdapterChoice(kind=spec.kind, layers=spec.layers, targets=None if spec.kind == "bottleneck" else targets),
        **spec.model_dump(include={"rank", "alpha", "reduction", "placement"}, exclude_none=True),
    )
    found = adapter_spec(choice, backbone.model)
    if found != spec.model_copy(update={"dtype": found.dtype}):
        raise InputError(f"the adapter of {name} is of a form that is not trained here: begin with another module")
    return AdapterStart(choice, {key: tensor.float() for key, tensor in module.adapter_tensors.items()}, sha256)


def read_lora_start(directory: Path, backbone: Backbone) -> AdapterStart:
    """Read a peft adapter directory for a backbone; nothing of it is executed, and no pickle is read.

    Raises:
        InputError: It is no LoRA adapter, or one whose meaning cannot be carried over.
        ModuleError: A file breaks the format.
        BackboneError: The backbone has no such layers.
    """
    config = _config(directory)
    choice = _choice(config, directory)
    spec = adapter_spec(choice, backbone.model)
    _check_heads(config, directory)
    try:
        check_config(spec, {key: value for key, value in config.items() if key != "modules_to_save"})
    except ManifestError as error:
        raise InputError(f"{directory} cannot be carried over: {error}") from error
    data = _bytes(directory)
    return AdapterStart(choice, _tensors(data, directory), sha256_bytes(data))


def _config(directory: Path) -> Mapping[str, object]:
    path = directory / ADAPTER_CONFIG_FILE
    try:
        document = strict_json.loads(path.read_bytes(), source=str(path))
    except OSError as error:
        raise InputError(f"{directory} is no adapter directory: {path.name}: {error.strerror}") from error
    kind = document.get("peft_type") if isinstance(document, dict) else None
    if kind != _LORA or not isinstance(document, dict):
        raise InputError(
            f"{directory} is an adapter of type {kind!r}: only LoRA can be a start"
            + ("; a petapter module of another kind runs as it is" if kind in PEFT_TYPES.values() else "")
        )
    return document


def _choice(config: Mapping[str, object], directory: Path) -> AdapterChoice:
    targets, layers = config.get("target_modules"), config.get("layers_to_transform")
    rank, alpha, dropout = config.get("r"), config.get("lora_alpha"), config.get("lora_dropout") or 0.0
    if not isinstance(targets, list) or not all(isinstance(target, str) for target in targets):
        raise InputError(f"{directory} says its places by {targets!r}: only a list of module names can be carried over")
    if type(rank) is not int or not isinstance(alpha, int | float) or not isinstance(dropout, int | float):
        raise InputError(f"{directory} has no usable r, lora_alpha and lora_dropout ({rank!r}, {alpha!r}, {dropout!r})")
    numbers = [layers] if isinstance(layers, int) else layers
    if numbers is not None and not (isinstance(numbers, list) and all(type(number) is int for number in numbers)):
        raise InputError(f"{directory} has layers_to_transform {layers!r}: only a list of numbers can be carried over")
    return AdapterChoice(
        rank=rank,
        alpha=float(alpha),
        targets=tuple(sorted(targets)),
        layers=None if numbers is None else tuple(sorted(numbers)),
        dropout=float(dropout),
    )


def _check_heads(config: Mapping[str, object], directory: Path) -> None:
    saved = config.get("modules_to_save") or []
    if not isinstance(saved, list) or not _HEADS.issuperset(saved):
        raise InputError(
            f"{directory} also trained {saved!r}: only a head ({', '.join(sorted(_HEADS))}) can be left out"
        )
    if saved:
        logger.warning("%s: its classification head (%s) is left out", directory, ", ".join(map(str, saved)))


def _bytes(directory: Path) -> bytes:
    path = directory / ADAPTER_FILE
    if not path.is_file():
        raise InputError(
            f"{directory} has no {ADAPTER_FILE}: save the adapter with safe_serialization; other formats can run code"
        )
    read_tensor_header(path)
    return path.read_bytes()


def _tensors(data: bytes, directory: Path) -> dict[str, Tensor]:
    try:
        loaded: dict[str, Tensor] = safetensors.torch.load(data)
    except SafetensorError as error:
        raise TensorFileError(f"{directory / ADAPTER_FILE} is no safetensors file: {error}") from error
    kept = {name: tensor.float() for name, tensor in loaded.items() if not _is_of_head(name)}
    for name, tensor in kept.items():
        if not bool(torch.isfinite(tensor).all()):
            raise TensorFileError(f"{directory / ADAPTER_FILE}: tensor {name} holds NaN or infinity")
    return kept


def _is_of_head(name: str) -> bool:
    return name.removeprefix(PEFT_PREFIX).partition(".")[0] in _HEADS
