# ruff: noqa: PLC0415 (torch is imported when candidates are measured)
"""Suggest: modules of a remote that may answer a few labelled rows, measured on them beside having no module at all."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from petapter_hub_client.local_runs import LocalModule, load_backbone, locate_modules, shared_backbone
from petapter_hub_client.searching import Query, search
from petapter_hub_client.side_by_side import Answered, ask_on, by_backbone
from petapter_hub_client.suggest_rows import LabelledRows
from petapter_schemas.errors import BackboneError, InputError, ModuleError, RemoteNotFoundError
from petapter_schemas.manifest import Interval
from petapter_schemas.names import label_key

if TYPE_CHECKING:
    from petapter.backbone import Backbone
    from petapter.task import Example

OnModule = Callable[[int, int, str], None]
"""Called with how many candidates are done, how many there are, and what is done next."""

MAJORITY = "(none: the most frequent label)"
ZERO_SHOT = "(none: the bare backbone)"

_CHANCE = 0.05


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
        of_several: Whether a row may have several labels or none; right is then who gives exactly those of a row.
        ranked: All that was measured, the best first.
        skipped: Modules that could not be measured, and why.
    """

    rows: int
    labels: tuple[str, ...]
    of_several: bool
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
    rows = LabelledRows.read(data, options.labels)
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
    measured = _measured(candidates, rows, options)
    answered, skipped = measured.answered, [*skipped, *measured.skipped]
    if not answered:
        reasons = "; ".join(f"{name}: {why}" for name, why in skipped)
        raise RemoteNotFoundError(f"none of the modules with these labels can be measured here ({reasons})")
    extra = {
        module.alias: tuple(name for name in module.manifest.task.label_names if label_key(name) not in rows.keys)
        for module in candidates
    }
    right = {alias: each.right for alias, each in answered.items()} | {MAJORITY: rows.frequent_right()}
    if measured.bare is not None:
        right[ZERO_SHOT] = measured.bare
    return Suggestions(len(rows.cells), rows.labels, rows.of_several, _ranked(right, answered, extra), tuple(skipped))


def _fetched(
    references: Sequence[str], rows: LabelledRows, on_module: OnModule | None
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


@dataclass(frozen=True)
class _Measured:
    """What the candidates say, what the bare backbone is worth where one's task fits, and who could not be asked."""

    answered: dict[str, Answered]
    bare: tuple[bool, ...] | None
    skipped: list[tuple[str, str]]


def _measured(candidates: Sequence[LocalModule], rows: LabelledRows, options: SuggestOptions) -> _Measured:
    """One pass for all that share a backbone, which is loaded once; where it cannot be had, its modules are out."""
    answered: dict[str, Answered] = {}
    bare: tuple[bool, ...] | None = None
    skipped: list[tuple[str, str]] = []
    for group in by_backbone(candidates):
        examples = {module.alias: rows.examples_for(module.manifest) for module in group}
        try:
            resolved = shared_backbone(options.backbone, [module.manifest for module in group])
            backbone = load_backbone(resolved, device=options.device)
            answered |= ask_on(backbone, group, examples)
        except BackboneError as error:
            skipped += [(module.alias, str(error)) for module in group]
            continue
        fitting = [module for module in group if rows.fits_exactly(module.manifest)]
        if fitting and bare is None and not rows.of_several:
            bare = _zero_shot(fitting[0], examples[fitting[0].alias], backbone)
    return _Measured(answered, bare, skipped)


def _zero_shot(module: LocalModule, examples: "Sequence[Example]", backbone: "Backbone") -> tuple[bool, ...]:
    """By a candidate's patterns and label words, without its weights."""
    from petapter.benchmark.baselines.zero_shot import zero_shot
    from petapter.benchmark.methods import Trial

    task = module.manifest.task
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
