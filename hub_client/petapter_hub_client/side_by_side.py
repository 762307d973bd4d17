# ruff: noqa: PLC0415 (torch is imported when a run starts, not before)
"""Asks several modules about the same labelled rows, all modules of one backbone in one pass."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from petapter_hub_client.local_runs import LocalModule, load_backbone, shared_backbone
from petapter_schemas.label_cells import join_labels

if TYPE_CHECKING:
    from petapter.backbone import Backbone
    from petapter.runtime import Prediction
    from petapter.task import Example


@dataclass(frozen=True)
class Answered:
    """What a module says of rows.

    Attributes:
        given: By row its most probable label, also where it would abstain; of a multi-label module all labels that it
            gives, joined by `|`.
        right: By row whether that is the row's.
    """

    given: tuple[str, ...]
    right: tuple[bool, ...]


def ask_side_by_side(
    modules: Sequence[LocalModule],
    rows: "Mapping[str, Sequence[Example]]",
    *,
    backbone: str | None = None,
    device: str | None = None,
) -> dict[str, Answered]:
    """The answers of modules to labelled rows, by alias.

    Args:
        modules: None of them an ensemble.
        rows: By alias the rows in the module's own fields and labels.
        backbone: As `--backbone` takes it; by default each module's own, one after the other.
        device: Where backbones run.

    Raises:
        PetapterError: A module must not be used, or a backbone cannot be had.
    """
    answered: dict[str, Answered] = {}
    for group in by_backbone(modules):
        resolved = shared_backbone(backbone, [module.manifest for module in group])
        answered |= ask_on(load_backbone(resolved, device=device), group, rows)
    return answered


def ask_on(
    backbone: "Backbone", modules: Sequence[LocalModule], rows: "Mapping[str, Sequence[Example]]"
) -> dict[str, Answered]:
    """The same on a backbone that is loaded, and is left as it was.

    Raises:
        PetapterError: A module must not be used, or not there.
    """
    from petapter.runtime import Engine

    with Engine(backbone) as engine:
        for module in modules:
            engine.load(module.directory, module.alias)
        said = iter(engine.predict([(module.alias, row.fields) for module in modules for row in rows[module.alias]]))
    answered = {}
    for module in modules:
        answers = [next(said) for _ in rows[module.alias]]
        answered[module.alias] = _answered(module, answers, rows[module.alias])
    return answered


def by_backbone(modules: Sequence[LocalModule]) -> list[list[LocalModule]]:
    """Modules that share a backbone together, in their order."""
    groups: dict[str, list[LocalModule]] = {}
    for module in modules:
        groups.setdefault(module.manifest.backbone.weights_sha256, []).append(module)
    return list(groups.values())


def _answered(module: LocalModule, said: "Sequence[Prediction]", rows: "Sequence[Example]") -> Answered:
    if module.manifest.task.type == "multi-label":
        given = tuple(join_labels(answer.labels) for answer in said)
        gold = [join_labels(row.labels) for row in rows]
    else:
        given = tuple(max(answer.probabilities, key=answer.probabilities.__getitem__) for answer in said)
        gold = [row.label for row in rows]
    return Answered(given, tuple(one == other for one, other in zip(given, gold, strict=True)))
