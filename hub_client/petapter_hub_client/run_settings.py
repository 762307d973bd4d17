# ruff: noqa: PLC0415 (torch is imported when a run starts, not before)
"""What the command line may choose about a training run, and which preset and which other choice each belongs to."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from petapter_hub_client.paper_switches import read_paper_switches
from petapter_schemas.errors import InputError
from petapter_schemas.task import TaskSpec

if TYPE_CHECKING:
    from petapter.adapters import AdapterChoice
    from petapter.backbone import Backbone
    from petapter.head import HeadChoice
    from petapter.training import PresetOptions, StrongOptions, TrainingOptions

Preset = Literal["strong", "plain", "paper"]
Adapter = Literal["lora", "ia3", "bottleneck", "bitfit", "none"]
Keep = Literal["auto", "head", "tail", "head+tail", "windows"]

_PRESETS_OF: Mapping[str, tuple[Preset, ...]] = {
    "seed": ("strong", "plain"),
    "steps": ("strong", "plain"),
    "rank": ("plain",),
    "head": ("plain",),
    "layers": ("plain",),
    "placement": ("plain",),
    "biases": ("plain",),
    "head_activation": ("plain",),
    "head_norm": ("plain",),
    "head_trains": ("plain",),
}
"""Choices that the other presets make themselves."""

_ADAPTERS: Mapping[Preset, tuple[Adapter, ...]] = {
    "strong": ("lora", "ia3", "bitfit", "none"),
    "plain": ("lora", "ia3", "bottleneck", "bitfit", "none"),
    "paper": ("lora", "ia3", "bottleneck"),
}
_BIASES = "attention.self.query,intermediate.dense"
_UPPER = "upper"
_UPPER_SHARE = 0.5


@dataclass(frozen=True)
class RunSettings:
    """What may be chosen about a run on the command line; None leaves it to the preset.

    Attributes:
        preset: `strong`, petapter's own; `plain`, one adapter and the head together; or `paper`, the faithful one,
            which decides all but the run itself, the kind of adapter and its switches.
        seed: Of initial weights, order of rows and dropout.
        adapter: What trains inside the backbone.
        rank: Of LoRA, in preset `plain`; 0 trains the head alone.
        layers: Which layers get the adapter, in preset `plain`: numbers from 0 joined by commas, or `upper`.
        placement: Where bottlenecks go: after the feed-forward block alone, or after the attention block too.
        biases: Which biases BitFit trains: names of linear layers inside a layer of the backbone, joined by commas.
        head: Where the head starts, in preset `plain`; left open, at the masked LM if the backbone has one.
        head_activation: Of a random head.
        head_norm: Of a random head likewise.
        head_trains: What trains of a head from the masked LM.
        steps: Optimiser steps.
        repetition: Which of the repeated runs of `paper`, from 1.
        paper: Switches of `paper` as KEY=VALUE, see `petapter_hub_client.paper_switches`.
        calibrate: Folds by which a module of `plain` or `paper` is calibrated.
        abstain_error: The share of texts that may get a wrong label; the module is silent where it must be for that.
        keep: How every pattern keeps long texts, instead of what the task says; `auto`, in preset `strong`, lets rows
            that are left out choose.
    """

    preset: Preset = "strong"
    seed: int | None = None
    adapter: Adapter | None = None
    rank: int | None = None
    layers: str | None = None
    placement: Literal["pfeiffer", "houlsby"] | None = None
    biases: str | None = None
    head: Literal["mlm", "random"] | None = None
    head_activation: str | None = None
    head_norm: Literal["layer-norm", "none"] | None = None
    head_trains: Literal["rows", "all", "none"] | None = None
    steps: int | None = None
    repetition: int | None = None
    paper: tuple[str, ...] = ()
    calibrate: int | None = None
    abstain_error: float | None = None
    keep: Keep | None = None

    def __post_init__(self) -> None:
        for check in (_check_preset, _check_paper, _check_calibration, _check_adapter, _check_places, _check_head):
            check(self)

    def options(self, backbone: "Backbone") -> "PresetOptions":
        """The preset's options, with what was given on the command line.

        Args:
            backbone: The backbone; the upper layers are half of its own.
        """
        from petapter.training import PaperOptions

        if self.preset == "paper":
            switches: dict[str, Any] = dict(read_paper_switches(self.paper))
            return PaperOptions(run=self.repetition or 1, **_given(adapter=self.adapter), **switches)
        return self._strong() if self.preset == "strong" else self._plain(backbone)

    def task(self, task: TaskSpec) -> TaskSpec:
        """A task with the way to keep long texts that was given on the command line."""
        from petapter.training.long_texts import keeping

        return task if self.keep in {None, "auto"} else keeping(task, str(self.keep))

    def _strong(self) -> "StrongOptions":
        from petapter.training import StrongOptions

        own = _given(seed=self.seed, steps=self.steps, keep="chosen" if self.keep == "auto" else None)
        if self.adapter == "none":
            return StrongOptions(**own, delta="never")
        return StrongOptions(**own, **_given(kind=self.adapter))

    def _plain(self, backbone: "Backbone") -> "TrainingOptions":
        from petapter.training import TrainingOptions

        return TrainingOptions(
            **_given(
                seed=self.seed,
                steps=self.steps,
                rank=self.rank,
                head_init=self.head,
                adapter=self._adapter_choice(backbone),
                head=self._head_choice(),
            )
        )

    def _adapter_choice(self, backbone: "Backbone") -> "AdapterChoice | None":
        """None where nothing but the rank was chosen."""
        from petapter.adapters import AdapterChoice, top_layers

        if self.adapter is None and self.layers is None:
            return None
        numbers = _layer_numbers(self.layers) if self.layers is not None else None
        chosen = numbers or (top_layers(backbone.model, _UPPER_SHARE) if self.layers is not None else None)
        targets = _bias_names(self.biases) if self.biases is not None else None
        return AdapterChoice(
            **_given(kind=self.adapter, rank=self.rank, layers=chosen, placement=self.placement, targets=targets)
        )

    def _head_choice(self) -> "HeadChoice | None":
        """None where nothing but its start was chosen."""
        from petapter.head import HeadChoice

        own = _given(trains=self.head_trains, activation=self.head_activation, norm=self.head_norm)
        return HeadChoice(**_given(init=self.head), **own) if own else None


def _given(**options: object) -> dict[str, Any]:
    """The options that were given."""
    return {name: value for name, value in options.items() if value is not None}


def _layer_numbers(layers: str) -> tuple[int, ...]:
    """Their numbers; empty for the upper ones.

    Raises:
        InputError: They are written in another way, or one twice.
    """
    if layers.strip() == _UPPER:
        return ()
    if not re.fullmatch(r"\s*\d+\s*(,\s*\d+\s*)*", layers, re.ASCII):
        raise InputError(f"--layers {layers!r} are no layers: write numbers from 0, such as 3,4,5, or {_UPPER}")
    numbers = tuple(int(number) for number in layers.split(","))
    if len(set(numbers)) < len(numbers):
        raise InputError(f"--layers {layers!r} names a layer twice: name it once")
    return numbers


def _bias_names(biases: str) -> tuple[str, ...]:
    """Names of the linear layers whose biases train.

    Raises:
        InputError: They are written in another way, or one twice.
    """
    names = tuple(name.strip() for name in biases.split(","))
    if not all(re.fullmatch(r"\w+(\.\w+)*", name, re.ASCII) for name in names):
        raise InputError(f"--biases {biases!r} are no names: write linear layers, such as {_BIASES}")
    if len(set(names)) < len(names):
        raise InputError(f"--biases {biases!r} names a linear layer twice: name it once")
    return names


def _check_preset(settings: RunSettings) -> None:
    preset = settings.preset
    for name, presets in _PRESETS_OF.items():
        if preset in presets or getattr(settings, name) is None:
            continue
        option = f"--{name.replace('_', '-')}"
        if preset == "paper":
            raise InputError(f"--preset paper decides {option} itself: drop it; --run chooses the seed")
        raise InputError(f"{option} belongs to --preset plain: give that preset, or drop it")
    if preset != "strong" and settings.keep == "auto":
        raise InputError("--keep auto belongs to --preset strong: give head, tail, head+tail or windows")
    if preset != "paper" and settings.repetition is not None:
        raise InputError("--run belongs to --preset paper: give --seed instead")


def _check_paper(settings: RunSettings) -> None:
    if settings.paper and settings.preset != "paper":
        raise InputError("--paper belongs to --preset paper: give that preset, or drop it")
    if "ia3_place" in read_paper_switches(settings.paper) and settings.adapter != "ia3":
        raise InputError("--paper ia3_place belongs to --adapter ia3: give that too, or drop it")


def _check_calibration(settings: RunSettings) -> None:
    if settings.preset == "strong":
        if settings.calibrate is not None:
            raise InputError("--preset strong calibrates itself: drop --calibrate, or give --preset plain")
    elif settings.abstain_error is not None and settings.calibrate is None:
        raise InputError(
            f"--abstain-error needs --calibrate with --preset {settings.preset}, since rows that were left out tell "
            "how sure a module may be: give --calibrate 5"
        )


def _check_adapter(settings: RunSettings) -> None:
    kind, known = settings.adapter, _ADAPTERS[settings.preset]
    if kind is not None and kind not in known:
        raise InputError(f"--preset {settings.preset} has no --adapter {kind}: choose {', '.join(known)}")
    if kind not in {None, "lora"} and settings.rank is not None:
        raise InputError(f"--rank belongs to --adapter lora, not {kind}: drop it")
    if kind == "lora" and settings.rank == 0:
        raise InputError("--rank 0 trains no adapter: give --adapter none, or a rank of 1 or more")


def _check_places(settings: RunSettings) -> None:
    """Where an adapter goes."""
    kind = settings.adapter
    if settings.placement is not None and kind != "bottleneck":
        raise InputError("--placement says where bottlenecks go: give --adapter bottleneck too, or drop it")
    if settings.biases is not None:
        if kind != "bitfit":
            raise InputError("--biases says what BitFit trains: give --adapter bitfit too, or drop it")
        _bias_names(settings.biases)
    if settings.layers is None:
        return
    if kind == "none" or settings.rank == 0:
        raise InputError("--layers says where an adapter goes, and there is none: drop it, or choose an adapter")
    _layer_numbers(settings.layers)


def _check_head(settings: RunSettings) -> None:
    own = {"--head-activation": settings.head_activation, "--head-norm": settings.head_norm}
    for option, value in own.items():
        if value is not None and settings.head != "random":
            raise InputError(
                f"{option} belongs to --head random: give that too, or drop it; a masked LM brings its own"
            )
    if settings.head_trains is not None and settings.head == "random":
        raise InputError("--head-trains belongs to --head mlm: drop it; a random head trains as a whole")
