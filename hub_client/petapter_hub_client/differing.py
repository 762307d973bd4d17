# ruff: noqa: PLC0415 (torch is imported when rows are given, numpy when weights are compared)
"""Diff: what is different between two modules, and on given rows whether that matters."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from petapter_hub_client.fetching import is_local_module, locate_module
from petapter_hub_client.weight_changes import WeightChange, weight_changes
from petapter_schemas.comparing import field_changes, file_changes, metric_changes
from petapter_schemas.ensemble import is_ensemble
from petapter_schemas.errors import InputError
from petapter_schemas.label_cells import join_labels
from petapter_schemas.manifest import MANIFEST_FILE, Interval, Manifest, manifest_digest
from petapter_schemas.module_facts import ModuleFacts, facts_of_manifest
from petapter_schemas.module_files import verify_directory
from petapter_schemas.registry_api import FieldChange, FileChange, MetricChange

if TYPE_CHECKING:
    from petapter.evaluation.pairs import PairedTest


@dataclass(frozen=True)
class Flip:
    """A row that the two answer differently; `row` counts from 1, without the header."""

    row: int
    label: str
    before: str
    after: str


@dataclass(frozen=True)
class AnswerChanges:
    """What both say of the same labelled rows.

    Attributes:
        rows: How many.
        accuracy_before: Share of right rows; of a multi-label task, of rows all of whose labels are right.
        interval_before: How sure that is.
        accuracy_after: Likewise, after.
        interval_after: Likewise, after.
        flips: The rows that they answer differently, in order.
        test: Whether one is more often right.
    """

    rows: int
    accuracy_before: float
    interval_before: Interval
    accuracy_after: float
    interval_after: Interval
    flips: tuple[Flip, ...]
    test: "PairedTest"


@dataclass(frozen=True)
class Difference:
    """Two modules beside each other; what is the same is left out, but for figures and weights.

    Attributes:
        before: What was given as the first, with the version it is.
        after: Likewise the second.
        digest_before: Names the first byte by byte.
        digest_after: Likewise the second.
        fields: Of the manifests.
        files: By path.
        metrics: Figures that their manifests tell.
        weights: By layer.
        answers: On given rows.
    """

    before: str
    after: str
    digest_before: str
    digest_after: str
    fields: tuple[FieldChange, ...]
    files: tuple[FileChange, ...]
    metrics: tuple[MetricChange, ...]
    weights: tuple[WeightChange, ...]
    answers: AnswerChanges | None

    @property
    def is_same(self) -> bool:
        """Whether the two are one, byte by byte."""
        return self.digest_before == self.digest_after


def diff(
    before: str | Path,
    after: str | Path,
    *,
    data: Path | None = None,
    backbone: str | None = None,
    device: str | None = None,
) -> Difference:
    """Compare two modules, each a directory or a reference, which is pulled.

    Args:
        before: The one.
        after: The other.
        data: Labelled rows to ask both about; this alone needs torch.
        backbone: What they run on, as `--backbone` takes it.
        device: Where it runs.

    Raises:
        InputError: One is an ensemble, or they answer with different labels and rows were given.
        PetapterError: A module cannot be had, or must not be used.
    """
    sides = [_Side.of(str(name)) for name in (before, after)]
    old, new = sides
    return Difference(
        before=old.shown,
        after=new.shown,
        digest_before=old.digest,
        digest_after=new.digest,
        fields=field_changes(old.manifest.model_dump(mode="json"), new.manifest.model_dump(mode="json")),
        files=file_changes(old.files, new.files),
        metrics=metric_changes(old.facts, new.facts),
        weights=weight_changes((old.directory, old.manifest), (new.directory, new.manifest)),
        answers=None if data is None else _answers(old, new, data, backbone, device),
    )


@dataclass(frozen=True)
class _File:
    """A file of a manifest, or the manifest itself."""

    size: int
    sha256: str


@dataclass(frozen=True)
class _Side:
    """A verified module."""

    name: str
    directory: Path
    manifest: Manifest
    data: bytes

    @classmethod
    def of(cls, name: str) -> "_Side":
        directory = locate_module(name)
        if is_ensemble(directory):
            raise InputError(f"{name} is an ensemble: compare its members, in its folder members/")
        return cls(name, directory, verify_directory(directory), (directory / MANIFEST_FILE).read_bytes())

    @property
    def shown(self) -> str:
        is_versioned = not is_local_module(self.name) and "@" in self.name
        return self.name if is_versioned else f"{self.name} ({self.manifest.version})"

    @property
    def digest(self) -> str:
        return manifest_digest(self.data)

    @property
    def files(self) -> Mapping[str, _File]:
        listed = {file.path: _File(file.size, file.sha256) for file in self.manifest.files}
        return {MANIFEST_FILE: _File(len(self.data), self.digest), **listed}

    @property
    def facts(self) -> ModuleFacts:
        return facts_of_manifest(self.manifest, digest=self.digest, manifest_bytes=len(self.data))


def _answers(old: _Side, new: _Side, data: Path, backbone: str | None, device: str | None) -> AnswerChanges:
    from petapter.evaluation.pairs import mcnemar_exact, wilson_interval
    from petapter.task import read_examples
    from petapter_hub_client.local_runs import LocalModule
    from petapter_hub_client.side_by_side import ask_side_by_side

    tasks = (old.manifest.task, new.manifest.task)
    if tasks[0].type != tasks[1].type or set(tasks[0].label_names) != set(tasks[1].label_names):
        raise InputError(
            f"{old.name} and {new.name} answer with different labels, so no rows can tell which is better: drop --data"
        )
    modules = [
        LocalModule(alias, side.directory, side.manifest, side.digest)
        for alias, side in (("before", old), ("after", new))
    ]
    rows = {module.alias: read_examples(data, module.manifest.task) for module in modules}
    answered = ask_side_by_side(modules, rows, backbone=backbone, device=device)
    first, second = answered["before"], answered["after"]
    gold = [row.label or join_labels(row.labels) for row in rows["before"]]
    flips = tuple(
        Flip(number, label, was, became)
        for number, (label, was, became) in enumerate(zip(gold, first.given, second.given, strict=True), start=1)
        if was != became
    )
    count = len(gold)
    return AnswerChanges(
        rows=count,
        accuracy_before=sum(first.right) / count,
        interval_before=wilson_interval(sum(first.right), count),
        accuracy_after=sum(second.right) / count,
        interval_after=wilson_interval(sum(second.right), count),
        flips=flips,
        test=mcnemar_exact(first.right, second.right),
    )
