"""What differs between two modules or versions: fields of the manifest, files, and figures on the same rows."""

import json
from collections.abc import Iterator, Mapping
from typing import Protocol

from petapter_schemas.module_facts import MetricFacts, ModuleFacts
from petapter_schemas.registry_api import FieldChange, FileChange, MetricChange

MAX_CHANGES = 1000
"""Differing fields shown at most."""

_SEPARATE = frozenset({"files", "evaluation"})
_MAX_VALUE = 2000


class NamedBytes(Protocol):
    """A file by what names its bytes; of a registry's tree or of a manifest."""

    @property
    def size(self) -> int:
        """How many there are."""

    @property
    def sha256(self) -> str:
        """Their digest."""


def field_changes(before: Mapping[str, object], after: Mapping[str, object]) -> tuple[FieldChange, ...]:
    """The leaves of two manifests that differ, by path such as `task.labels.0.name`; files and figures left out."""
    old = dict(_leaves({key: value for key, value in before.items() if key not in _SEPARATE}))
    new = dict(_leaves({key: value for key, value in after.items() if key not in _SEPARATE}))
    paths = [path for path in dict.fromkeys([*old, *new]) if old.get(path) != new.get(path)]
    return tuple(FieldChange(path=path, before=old.get(path), after=new.get(path)) for path in paths[:MAX_CHANGES])


def _leaves(value: object, path: str = "") -> Iterator[tuple[str, str]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if inner is None or not value:
        yield path, json.dumps(value, ensure_ascii=False)[:_MAX_VALUE]
        return
    for key, item in inner:
        yield from _leaves(item, f"{path}.{key}" if path else str(key))


def file_changes(before: Mapping[str, NamedBytes], after: Mapping[str, NamedBytes]) -> tuple[FileChange, ...]:
    """The files that differ, by path."""
    changed = []
    for path in sorted({*before, *after}):
        old, new = before.get(path), after.get(path)
        if old is None or new is None or old.sha256 != new.sha256:
            change = FileChange(
                path=path,
                size_before=old.size if old else None,
                size_after=new.size if new else None,
                sha256_before=old.sha256 if old else None,
                sha256_after=new.sha256 if new else None,
            )
            changed.append(change)
    return tuple(changed)


def metric_changes(before: ModuleFacts | None, after: ModuleFacts | None) -> tuple[MetricChange, ...]:
    """The figures of both sides; only those on the same rows stand beside each other."""
    old, new = _figures(before), _figures(after)
    return tuple(
        MetricChange(
            metric=metric,
            evaluation_set=rows,
            sha256=digest,
            before=old.get((metric, rows, digest)),
            after=new.get((metric, rows, digest)),
        )
        for metric, rows, digest in dict.fromkeys([*old, *new])
    )


def _figures(facts: ModuleFacts | None) -> dict[tuple[str, str, str], float]:
    figures: tuple[MetricFacts, ...] = facts.metrics if facts else ()
    return {(figure.metric, figure.evaluation_set, figure.sha256): figure.value for figure in figures}
