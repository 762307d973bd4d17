"""From a manifest back to the options that made its module, so that it can be trained again where the rows are."""

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from petapter.adapters import AdapterChoice
from petapter.head import HeadChoice
from petapter.training.options import STARTED_FROM, StrongOptions, TrainingOptions
from petapter.training.paper import PaperOptions
from petapter.training.presets import PresetOptions
from petapter_schemas.errors import InputError
from petapter_schemas.manifest import Manifest

_PLAIN = ("batch_size", "adapter_lr", "head_lr", "warmup", "label_smoothing", "clip_norm", "order", "pad_to")
_OF_KIND: Mapping[str, tuple[str, ...]] = {
    "lora": ("rank", "alpha", "dropout"),
    "bottleneck": ("reduction", "placement", "up_std"),
}
_FOLDS = "calibrate_folds"


def recorded_options(manifest: Manifest) -> PresetOptions:
    """The options of the run that a manifest records.

    Raises:
        InputError: It records no run of one of the presets, or one with options that this version does not know.
    """
    training = manifest.training
    if not any(training.examples_per_class):
        raise InputError(
            f"{manifest.name} {manifest.version} was made without labelled rows, by {training.preset!r}: there is no "
            "run of a preset to repeat"
        )
    if len(training.seeds) != 1 or training.preset not in {"strong", "plain", "paper"}:
        raise InputError(
            f"{manifest.name} {manifest.version} was made by {training.preset!r}, which is no single run of a preset: "
            "reproduce the modules that it was made of"
        )
    if STARTED_FROM in training.hyperparameters:
        raise InputError(
            f"{manifest.name} {manifest.version} began with the weights of another adapter, which its manifest names "
            "by their digest alone: repeat 'petapter import peft' or 'train --init-from' where that adapter is"
        )
    try:
        if training.preset == "strong":
            return _strong(manifest)
        return _plain(manifest) if training.preset == "plain" else _paper(manifest)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"the manifest of {manifest.name} {manifest.version} does not record its run completely ({error}): another "
            "program or version wrote it"
        ) from error


def recorded_folds(manifest: Manifest) -> int | None:
    """By how many further runs a module of `plain` or `paper` was calibrated; None where it was not."""
    folds = manifest.training.hyperparameters.get(_FOLDS)
    return folds if isinstance(folds, int) else None


def _named(manifest: Manifest, kind: type[StrongOptions | PaperOptions]) -> dict[str, Any]:
    known = {field.name for field in fields(kind)}
    return {name: value for name, value in manifest.training.hyperparameters.items() if name in known}


def _strong(manifest: Manifest) -> StrongOptions:
    """The way to keep long texts that rows chose stands in the manifest's own patterns."""
    return replace(StrongOptions(**_named(manifest, StrongOptions)), seed=manifest.training.seeds[0], keep="as-written")


def _paper(manifest: Manifest) -> PaperOptions:
    """Modules that were made before `ia3_place` was an option tell the place of their (IA)^3 by its targets."""
    named = _named(manifest, PaperOptions)
    if manifest.adapter.kind == "ia3":
        named["ia3_place"] = "after-activation" if manifest.adapter.feedforward else "before-activation"
    return PaperOptions(**named)


def _plain(manifest: Manifest) -> TrainingOptions:
    given: Mapping[str, Any] = manifest.training.hyperparameters
    head = HeadChoice(init=given["head_init"])
    if head.init == "mlm":
        head = HeadChoice(init="mlm", trains=given["head_trains"])
    else:
        spec = manifest.head
        head = HeadChoice(init="random", activation=spec.activation, norm=spec.norm, norm_eps=spec.norm_eps)
    return TrainingOptions(
        seed=manifest.training.seeds[0],
        steps=manifest.training.steps,
        adapter=_adapter(manifest, given),
        head=head,
        **{name: given[name] for name in _PLAIN if name in given},
    )


def _adapter(manifest: Manifest, given: Mapping[str, Any]) -> AdapterChoice:
    """What it was chosen to be; where it goes stands in full in the manifest's `adapter`."""
    spec = manifest.adapter
    if spec.kind == "none":
        return AdapterChoice(kind="none")
    own = {name: given[f"adapter_{name}"] for name in _OF_KIND.get(spec.kind, ()) if f"adapter_{name}" in given}
    if spec.kind == "lora":
        own = {"rank": spec.rank, "alpha": spec.alpha} | own
    targets = None if spec.kind == "bottleneck" else spec.targets
    return AdapterChoice(kind=spec.kind, targets=targets, layers=spec.layers, **own)
