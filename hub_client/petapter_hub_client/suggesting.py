# ruff: noqa: PLC0415 (torch is imported when candidates are measured)
"""Suggest: modules of a remote that may answer a few labelled rows, measured on them beside having no module at all."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from petapter_hub_client.local_runs import LocalModule, load_backbone, locate_modules, shared_backbone
from petapter_hub_client.searching import Query, search
from petapter_hub_client.side_by_side import Answered, ask_side_by_side, by_backbone
from petapter_hub_client.suggestions import did_you_mean
from petapter_schemas.errors import BackboneError, DataError, InputError, ModuleError, RemoteNotFoundError
from petapter_schemas.manifest import Interval, Manifest
from petapter_schemas.names import label_key

if TYPE_CHECKING:
    from petapter.task import Example
    from petapter_schemas.tables import Row

OnModule = Callable[[int, int, str], None]
"""Called with how many candidates are done, how many there are, and what is done next."""

MAJORITY = "(none: the most frequent label)"
ZERO_SHOT = "(none: the bare backbone)"

_CHANCE = 0.05
_LABEL = "label"


@dataclass(frozen=True)
class SuggestOptions:
    """How to look.

    Attributes:
        labels: By label of the rows, what modules call it; labels that are not named are called as they are.
        language: Of the modules.
        limit: Most candidates that are downloaded and measured.
        remote: Where to search; the default remote unless named.
        backbone: What candidates run on, as `--backbone` takes it; by default each one's own.
        device: Where it runs.
    """

    labels: Mapping[str, str] = field(default_factory=dict)
    language: str | None = None
    limit: int = 5
    remote: str | None = None
    backbone: str | None = None
    device: str | None = None


@dataclass(frozen=True)
class Suggestion:
    """A candidate, or one of the two ways to have no module.

    Attributes:
        module: Its reference, or MAJORITY or ZERO_SHOT.
        is_module: Whether it is one.
        right: How many rows it has right.
        rows: Of so many.
        interval: Of the share of right rows.
        p_value: How often chance alone parts it so far from the best, where neither is better; 1 of the best itself.
        is_best: Whether none has more rows right.
        further_labels: Labels that it has and the rows have not; answers among these are wrong here.
    """

    module: str
    is_module: bool
    right: int
    rows: int
    interval: Interval
    p_value: float
    is_best: bool
    further_labels: tuple[str, ...] = ()

    @property
    def accuracy(self) -> float:
        """The share of right rows."""
        return self.right / self.rows

    @property
    def is_apart(self) -> bool:
        """Whether these rows tell it from the best one."""
        return self.p_value < _CHANCE


@dataclass(frozen=True)
class Suggestions:
    """What was measured, the best first; nothing is chosen.

    Attributes:
        rows: How many rows.
        labels: Theirs, as modules call them.
        ranked: All that was measured, the best first.
        skipped: Modules that could not be measured, and why.
    """

    rows: int
    labels: tuple[str, ...]
    ranked: tuple[Suggestion, ...]
    skipped: tuple[tuple[str, str], ...]

    @property
    def beats_none(self) -> bool:
        """Whether the best is a module, and these rows tell it from having none."""
        nothing = [each for each in self.ranked if not each.is_module]
        return self.ranked[0].is_module and all(each.is_apart for each in nothing)


def suggest(data: Path, *, options: SuggestOptions | None = None, on_module: OnModule | None = None) -> Suggestions:
    """Search a remote by the labels of a few rows, download the candidates, and measure them on these rows.

    Args:
        data: Labelled rows with the text fields of the candidates, CSV or JSON Lines.
        options: How to look.
        on_module: Hears of each candidate.

    Raises:
        DataError: There are no rows, or they have one label alone.
        InputError: `labels` names a label that no row has, or two for the same.
        RemoteNotFoundError: No module has these labels, or none of those that have can be measured.
        RemoteError: The remote said no, or nothing.
    """
    options = options or SuggestOptions()
    rows = _Rows.read(data, options.labels)
    query = Query(labels=rows.labels, languages=(options.language,) if options.language else (), limit=options.limit)
    references = [found.reference for found in search(query, remote=options.remote)]
    if not references:
        raise RemoteNotFoundError(
            f"no module on that remote has the labels {', '.join(rows.labels)}: name them as modules do by --map, ask "
            "another --remote, or train one"
        )
    candidates, skipped = _fetched(references, rows, on_module)
    if on_module is not None:
        on_module(len(references), len(references), "(measuring)")
    answered, more = _measured(candidates, rows, options)
    if not answered:
        reasons = "; ".join(f"{name}: {why}" for name, why in (*skipped, *more))
        raise RemoteNotFoundError(f"none of the modules with these labels can be measured here ({reasons})")
    extra = {
        module.alias: tuple(name for name in module.manifest.task.label_names if label_key(name) not in rows.keys)
        for module in candidates
    }
    right = {alias: each.right for alias, each in answered.items()} | _without(candidates, rows, answered, options)
    return Suggestions(len(rows.cells), rows.labels, _ranked(right, answered, extra), (*skipped, *more))


@dataclass(frozen=True)
class _Rows:
    """The rows as they were read, and their labels as modules call them, by row and each once."""

    cells: "Sequence[Row]"
    gold: tuple[str, ...]
    labels: tuple[str, ...]

    @classmethod
    def read(cls, path: Path, names: Mapping[str, str]) -> "_Rows":
        from petapter_schemas.tables import read_rows

        cells = list(read_rows(path, (_LABEL,)))
        own = [row.text(_LABEL) for row in cells]
        for name in names:
            if name not in own:
                raise InputError(f"--map {name!r}: no row has this label{did_you_mean(name, own)}")
        gold = tuple(names.get(label, label) for label in own)
        labels = tuple(dict.fromkeys(gold))
        if len({label_key(label) for label in labels}) < len(set(own)):
            raise InputError("two labels of the rows mean the same one of a module: map each to another one")
        if len(labels) < 2:  # noqa: PLR2004 (what there is to tell apart)
            raise DataError(f"{path}: all rows have the label {labels[0]!r}: give rows of two labels at least")
        return cls(cells, gold, labels)

    @property
    def keys(self) -> set[str]:
        return {label_key(label) for label in self.labels}

    def examples_for(self, manifest: Manifest) -> "list[Example]":
        """The rows in the fields and labels of a module.

        Raises:
            DataError: It has other fields.
            InputError: It lacks a label, or gives several at a time.
        """
        from petapter.task import Example

        task = manifest.task
        if task.type != "single-label":
            raise InputError("it gives several labels at a time")
        known = {label_key(name): name for name in task.label_names}
        if missing := [label for label in self.labels if label_key(label) not in known]:
            raise InputError(f"it has no label {missing[0]!r}")
        if lacking := [name for name in task.fields if name not in self.cells[0].cells]:
            raise DataError(f"it reads a column {lacking[0]!r}, which the rows do not have")
        return [
            Example({name: row.text(name) for name in task.fields}, known[label_key(label)])
            for row, label in zip(self.cells, self.gold, strict=True)
        ]


def _fetched(
    references: Sequence[str], rows: _Rows, on_module: OnModule | None
) -> tuple[list[LocalModule], list[tuple[str, str]]]:
    candidates: list[LocalModule] = []
    skipped: list[tuple[str, str]] = []
    for number, reference in enumerate(references):
        if on_module is not None:
            on_module(number, len(references), reference)
        try:
            (module,) = locate_modules([reference])
            rows.examples_for(module.manifest)
        except (InputError, ModuleError) as error:
            skipped.append((reference, str(error)))
        else:
            candidates.append(
                LocalModule(reference, module.directory, module.manifest, module.digest, members=module.members)
            )
    return candidates, skipped


def _measured(
    candidates: Sequence[LocalModule], rows: _Rows, options: SuggestOptions
) -> tuple[dict[str, Answered], list[tuple[str, str]]]:
    """One pass for all that share a backbone; where one cannot be had, its modules are out."""
    answered: dict[str, Answered] = {}
    skipped: list[tuple[str, str]] = []
    for group in by_backbone(candidates):
        examples = {module.alias: rows.examples_for(module.manifest) for module in group}
        try:
            answered |= ask_side_by_side(group, examples, backbone=options.backbone, device=options.device)
        except BackboneError as error:
            skipped += [(module.alias, str(error)) for module in group]
    return answered, skipped


def _without(
    candidates: Sequence[LocalModule], rows: _Rows, answered: Mapping[str, Answered], options: SuggestOptions
) -> dict[str, tuple[bool, ...]]:
    """What having no module is worth: the most frequent label, and the bare backbone where a candidate's task fits."""
    frequent = Counter(rows.gold).most_common(1)[0][0]
    right = {MAJORITY: tuple(label == frequent for label in rows.gold)}
    for module in candidates:
        names = {label_key(name) for name in module.manifest.task.label_names}
        if module.alias in answered and names == rows.keys:
            right[ZERO_SHOT] = _zero_shot(module, rows, options)
            break
    return right


def _zero_shot(module: LocalModule, rows: _Rows, options: SuggestOptions) -> tuple[bool, ...]:
    """By a candidate's patterns and label words, without its weights."""
    from petapter.benchmark.baselines.zero_shot import zero_shot
    from petapter.benchmark.methods import Trial

    task = module.manifest.task
    examples = rows.examples_for(module.manifest)
    backbone = load_backbone(shared_backbone(options.backbone, [module.manifest]), device=options.device)
    trial = Trial(task, tuple(examples), tuple(example.fields for example in examples), backbone, seed=0)
    best = zero_shot()(trial).log_probabilities.argmax(axis=1).tolist()
    return tuple(task.label_names[given] == row.label for given, row in zip(best, examples, strict=True))


def _ranked(
    right: Mapping[str, tuple[bool, ...]], answered: Mapping[str, Answered], extra: Mapping[str, tuple[str, ...]]
) -> tuple[Suggestion, ...]:
    """The best first; of equals those that need no module, since nothing speaks for one."""
    from petapter.evaluation.pairs import mcnemar_exact, wilson_interval

    order = sorted(right, key=lambda name: (-sum(right[name]), name in answered, name))
    best = order[0]
    return tuple(
        Suggestion(
            module=name,
            is_module=name in answered,
            right=sum(right[name]),
            rows=len(right[name]),
            interval=wilson_interval(sum(right[name]), len(right[name])),
            p_value=mcnemar_exact(right[best], right[name]).p_value,
            is_best=sum(right[name]) == sum(right[best]),
            further_labels=extra.get(name, ()),
        )
        for name in order
    )
