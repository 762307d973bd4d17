# ruff: noqa: PLC0415 (torch is imported when a run starts, not before)
"""Reproduce: trains a module again from its manifest and tells whether the same came out, within its tolerance."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from petapter_hub_client.fetching import locate_module
from petapter_hub_client.local_runs import load_backbone, measure, shared_backbone
from petapter_hub_client.output import OnStep
from petapter_schemas.ensemble import is_ensemble
from petapter_schemas.errors import DataError, InputError
from petapter_schemas.manifest import EvaluationSpec, Interval, Manifest, TrainingSpec, read_manifest

if TYPE_CHECKING:
    from torch import Tensor

    from petapter.backbone import Backbone
    from petapter.task import Example
    from petapter.trained import TrainedModule


@dataclass(frozen=True)
class ReproduceOptions:
    """What a run is given besides the training rows.

    Attributes:
        test: Labelled rows to measure both on; those of the published figures, or others.
        unlabelled: Further texts, where the module was trained with such.
        tolerance: Within which a log-probability of a probe text must be; by default that of the module.
        backbone: As `--backbone` takes it; must be the module's own.
        device: Where it runs.
    """

    test: Path | None = None
    unlabelled: Path | None = None
    tolerance: float | None = None
    backbone: str | None = None
    device: str | None = None


@dataclass(frozen=True)
class FigureAgain:
    """A figure of the published module and of the one trained again, on the same rows.

    Attributes:
        metric: Its name.
        evaluation_set: The rows.
        published: As the manifest says, or, on rows that it does not name, as measured here.
        again: Of the module trained again.
        interval: Of `published`.
    """

    metric: str
    evaluation_set: str
    published: float
    again: float
    interval: Interval

    @property
    def is_within(self) -> bool:
        """Whether the new value lies in the interval of the published one."""
        return self.interval.low <= self.again <= self.interval.high


@dataclass(frozen=True)
class Reproduction:
    """What training again gave.

    Attributes:
        module: Its name and version.
        directory: Where the published one lies.
        golden_difference: The largest difference of a log-probability of the probe texts.
        tolerance: Up to which it is the same module.
        weight_changes: By file, ‖again - published‖ / ‖published‖ of all its numbers; None where the shapes differ.
        figures: On the rows of `test`, if any.
        then: The hardware and libraries of the published run.
        now: Those of this one.
    """

    module: str
    directory: Path
    golden_difference: float
    tolerance: float
    weight_changes: Mapping[str, float | None]
    figures: tuple[FigureAgain, ...]
    then: str
    now: str

    @property
    def is_within(self) -> bool:
        """Whether the probe texts get the same answers, and every figure lies in its interval."""
        return self.golden_difference <= self.tolerance and all(figure.is_within for figure in self.figures)


def reproduce(
    module: str | Path, data: Path, *, options: ReproduceOptions | None = None, on_step: OnStep | None = None
) -> Reproduction:
    """Train a module again by its manifest, and compare.

    Args:
        module: Its directory or reference.
        data: The rows it was trained on; their digest must be the manifest's.
        options: What else there is.
        on_step: Hears of the steps.

    Raises:
        DataError: The rows are not those of the manifest.
        InputError: The manifest records no run that can be done again.
        BackboneMismatchError: The backbone is another one.
        PetapterError: The module or the backbone cannot be had, or training fails.
    """
    options = options or ReproduceOptions()
    directory = locate_module(str(module))
    if is_ensemble(directory):
        raise InputError(f"{module} is an ensemble: reproduce its members, in its folder members/")
    manifest = read_manifest(directory)
    run = _Run.read(directory, manifest, data, options)
    return run.compared(run.trained(on_step or (lambda *_: None)))


@dataclass(frozen=True)
class _Run:
    """Everything that is read before minutes of training depend on it."""

    published: "TrainedModule"
    directory: Path
    manifest: Manifest
    examples: "list[Example]"
    test: "list[Example]"
    backbone: "Backbone"
    options: ReproduceOptions

    @classmethod
    def read(cls, directory: Path, manifest: Manifest, data: Path, options: ReproduceOptions) -> "_Run":
        from petapter.module import open_module
        from petapter.task import read_examples, rows_digest
        from petapter.training.recorded import recorded_options

        recorded_options(manifest)
        examples = read_examples(data, manifest.task)
        if (digest := rows_digest(examples)) != manifest.training.rows_sha256:
            count = sum(manifest.training.examples_per_class)
            raise DataError(
                f"{data} holds other rows than {manifest.name} {manifest.version} was trained on: {len(examples)} rows "
                f"of sha256 {digest[:12]}…, the manifest says {count} labels on rows of "
                f"{manifest.training.rows_sha256[:12]}…: give the file of that run"
            )
        test = [] if options.test is None else read_examples(options.test, manifest.task)
        backbone = load_backbone(shared_backbone(options.backbone, [manifest]), device=options.device)
        return cls(open_module(directory, backbone), directory, manifest, examples, test, backbone, options)

    def trained(self, on_step: OnStep) -> "TrainedModule":
        """The module trained again."""
        from petapter.task import read_texts
        from petapter.training import train
        from petapter.training.recorded import recorded_folds, recorded_options

        def told(step: int, total: int, loss: float) -> None:
            on_step(step, total, f"loss {loss:.3f}")

        fields, more = self.manifest.task.fields, self.options.unlabelled
        calibration = self.manifest.calibration
        return train(
            self.manifest.task,
            self.examples,
            self.backbone,
            recorded_options(self.manifest),
            unlabelled=[] if more is None else read_texts(more, fields),
            calibrate_folds=recorded_folds(self.manifest),
            abstain_error_rate=calibration.abstain_error_rate if calibration else None,
            on_step=told,
        )

    def compared(self, again: "TrainedModule") -> Reproduction:
        """What differs between the two."""
        golden = self.published.golden
        pairs = zip(golden.probes, again.golden.probes, strict=True)
        then, now = self.manifest.training, again.training
        return Reproduction(
            module=f"{self.manifest.name} {self.manifest.version}",
            directory=self.directory,
            golden_difference=max(
                abs(one - other)
                for before, after in pairs
                for one, other in zip(before.log_probabilities, after.log_probabilities, strict=True)
            ),
            tolerance=golden.tolerance if self.options.tolerance is None else self.options.tolerance,
            weight_changes={
                "adapter": _change(self.published.adapter_tensors, again.adapter_tensors),
                "head": _change(self.published.head_tensors, again.head_tensors),
            },
            figures=self._figures(again),
            then=_machine(then),
            now=_machine(now),
        )

    def _figures(self, again: "TrainedModule") -> tuple[FigureAgain, ...]:
        if not self.test or self.options.test is None:
            return ()
        name = self.options.test.stem
        new = measure(self.backbone, again, self.test, name=name, split="test")
        rows = new[0].evaluation_set.sha256
        declared = [each for each in self.manifest.evaluation if each.evaluation_set.sha256 == rows]
        old = declared or measure(self.backbone, self.published, self.test, name=name, split="test")
        by_metric: dict[str, EvaluationSpec] = {each.metric: each for each in new}
        return tuple(
            FigureAgain(each.metric, each.evaluation_set.name, each.value, by_metric[each.metric].value, each.interval)
            for each in old
            if each.metric in by_metric
        )


def _machine(training: TrainingSpec) -> str:
    libraries = ", ".join(f"{name} {version}" for name, version in training.libraries.items())
    return f"{training.hardware}; {libraries}"


def _change(published: "Mapping[str, Tensor]", again: "Mapping[str, Tensor]") -> float | None:
    """Of all tensors together; 0 where there are none."""
    import torch

    shapes = [{name: tuple(tensor.shape) for name, tensor in each.items()} for each in (published, again)]
    if shapes[0] != shapes[1]:
        return None
    if not published:
        return 0.0
    before = torch.cat([published[name].double().flatten() for name in sorted(published)])
    after = torch.cat([again[name].double().flatten() for name in sorted(published)])
    size = float(before.norm())
    return float((after - before).norm()) / size if size else None
