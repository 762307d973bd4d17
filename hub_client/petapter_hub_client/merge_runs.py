# ruff: noqa: PLC0415 (torch is imported when a run starts, not before)
"""One merge from references to a directory: fetch the members, make one of them, measure all on the same rows, save."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from petapter_hub_client.ensembles import task_of_all
from petapter_hub_client.fetching import is_local_module
from petapter_hub_client.local_runs import LocalModule, load_backbone, locate_modules, shared_backbone
from petapter_hub_client.output import OnStep
from petapter_hub_client.stated_facts import StatedFacts
from petapter_schemas.digests import sha256_file
from petapter_schemas.ensemble import EnsembleSpec, is_ensemble
from petapter_schemas.errors import DataError, InputError
from petapter_schemas.manifest import MANIFEST_FILE, Manifest
from petapter_schemas.merge_spec import MergeMethod

if TYPE_CHECKING:
    from petapter.backbone import Backbone
    from petapter.merging import Comparison, Recipe, Weighing
    from petapter.module import ModuleInfo
    from petapter.task import Example

Method = Literal[MergeMethod, "ensemble"]

_DENSE = ("linear", "ensemble")


@dataclass(frozen=True)
class Choices:
    """How modules become one; None is the default of whatever needs it, `auto` chooses weights on rows to tune on."""

    method: Method
    weights: tuple[float, ...] | Literal["auto"] | None = None
    density: float | None = None
    seed: int | None = None

    def recipe(self) -> "Recipe":
        """The recipe of a merge of weights.

        Raises:
            InputError: A choice has no meaning for the method, or is out of bounds.
        """
        from petapter.merging import Recipe

        if self.density is not None and self.method in _DENSE:
            raise InputError(f"--density belongs to ties, dare-linear and dare-ties, not to {self.method}: drop it")
        if self.seed is not None and not self.method.startswith("dare"):
            raise InputError(f"--seed draws what dare-linear and dare-ties drop; {self.method} draws nothing: drop it")
        default = Recipe()
        return Recipe(
            "linear" if self.method == "ensemble" else self.method,
            None if self.weights == "auto" else self.weights,
            default.density if self.density is None else self.density,
            self.seed or 0,
        )


@dataclass(frozen=True)
class Rows:
    """Labelled rows: those that all are measured on, the name these go by, and those to tune on, if any."""

    test: Path
    name: str
    tune: Path | None = None


@dataclass(frozen=True)
class MadeOne:
    """What a run made: all figures, what was written, and how weights were chosen if they were."""

    comparison: "Comparison"
    written: Manifest | EnsembleSpec
    weighing: "Weighing | None" = None


@dataclass(frozen=True)
class MergeRun:
    """Everything a run needs, named but not yet read."""

    modules: Sequence[str]
    choices: Choices
    rows: Rows
    facts: StatedFacts
    backbone: str | None = None

    def run(self, out: Path, on_step: OnStep) -> MadeOne:
        """Merge, measure and write the directory of a module or an ensemble.

        Raises:
            PetapterError: Something given cannot be used; `out` was not made.
        """
        recipe = self.choices.recipe()
        on_step(0, 1, "(fetching)")
        members = self._located()
        self._check(members)
        test, tune = self._read(members)
        on_step(0, 1, "(loading the backbone)")
        backbone = load_backbone(shared_backbone(self.backbone, [member.manifest for member in members]))
        on_step(0, 1, "(merging and measuring)")
        if self.choices.method == "ensemble":
            return self._answer_together(out, _Given(backbone, members, test, tune), recipe)
        return self._merge(out, _Given(backbone, members, test, tune), recipe)

    def _located(self) -> list[LocalModule]:
        if twice := [name for name in self.modules if self.modules.count(name) > 1]:
            raise InputError(f"{twice[0]} was named twice: name each module once")
        members = locate_modules(self.modules)
        for name, member in zip(self.modules, members, strict=True):
            if is_ensemble(member.directory):
                raise InputError(f"{name} is an ensemble: name the modules in its folder members/ instead")
        return members

    def _check(self, members: Sequence[LocalModule]) -> None:
        """Refuse what manifests alone show, before the backbone is loaded."""
        from petapter.merging import check_alike, check_mergeable, shares

        aliases = [member.alias for member in members]
        manifests = [member.manifest for member in members]
        (check_alike if self.choices.method == "ensemble" else check_mergeable)(manifests, aliases)
        if self.choices.weights != "auto":
            shares(self.choices.weights, len(members))
        elif self.rows.tune is None:
            raise InputError("--weights auto chooses them on other labelled rows: give some with --tune MORE.csv")
        if self.facts.name in aliases:
            raise InputError(f"{self.facts.name!r} is the name of a member: choose another --name or --out")

    def _read(self, members: Sequence[LocalModule]) -> "tuple[list[Example], list[Example]]":
        """Rows to measure on and rows to tune on; none may be what a member was trained on, as far as digests tell."""
        from petapter.task import read_examples, rows_digest

        task = task_of_all([member.manifest for member in members])
        test = read_examples(self.rows.test, task)
        tune = read_examples(self.rows.tune, task) if self.rows.tune is not None else []
        for path, rows in ((self.rows.test, test), (self.rows.tune, tune)):
            digest = rows_digest(rows) if rows else None
            for member in members:
                if digest == member.manifest.training.rows_sha256:
                    raise DataError(
                        f"{path} holds the rows that {member.alias} was trained on: give rows it has not seen"
                    )
        texts = {tuple(sorted(row.fields.items())) for row in test}
        if shared := sum(tuple(sorted(row.fields.items())) in texts for row in tune):
            raise DataError(
                f"{shared} of the texts in {self.rows.tune} are in {self.rows.test} too: tune and test on "
                "different ones"
            )
        return test, tune

    def _merge(self, out: Path, given: "_Given", recipe: "Recipe") -> MadeOne:
        from petapter.merging import Member, compare, lineage_of, merge, weigh_merge
        from petapter.module import open_module, save_module

        opened = {member.alias: open_module(member.directory, given.backbone) for member in given.members}
        modules, weighing = list(opened.values()), None
        if self.choices.weights == "auto":
            weighing = weigh_merge(modules, given.backbone, recipe, given.tune)
            recipe = replace(recipe, weights=weighing.weights)
        merged = merge(modules, given.backbone, recipe, tune=given.tune)
        name = self.facts.name
        comparison = compare(given.backbone, opened, (name, merged), given.test, name=self.rows.name)
        members = [
            Member(module, member.manifest.name, member.manifest.version, _digest(member))
            for member, module in zip(given.members, opened.values(), strict=True)
        ]
        lineage = lineage_of(members, recipe, self._references())
        info, evaluation = self._info(given.members), comparison.figures[name]
        written = save_module(merged, out, info, evaluation=evaluation, lineage=lineage)
        return MadeOne(comparison, written, weighing)

    def _answer_together(self, out: Path, given: "_Given", recipe: "Recipe") -> MadeOne:
        from petapter.merging import EnsembleParts, Together, compare, save_ensemble, thresholds_on, weigh_ensemble
        from petapter.task import rows_digest

        directories = {member.alias: member.directory for member in given.members}
        weights, thresholds, weighing = recipe.weights, None, None
        if self.choices.weights == "auto":
            weighing = weigh_ensemble(given.backbone, directories, given.tune)
            weights = weighing.weights
        if given.tune and given.members[0].manifest.task.type == "multi-label":
            thresholds = thresholds_on(given.backbone, directories, weights, given.tune)
        elif given.tune and weighing is None:
            raise InputError("an ensemble of single-label modules has nothing to tune but --weights auto: drop --tune")
        name, made = self.facts.name, Together(weights, thresholds)
        comparison = compare(given.backbone, directories, (name, made), given.test, name=self.rows.name)
        parts = EnsembleParts(
            tuple(directories.values()),
            weights,
            thresholds,
            rows_digest(given.tune) if given.tune else None,
            self._references(),
        )
        info, evaluation = self._info(given.members), comparison.figures[name]
        return MadeOne(comparison, save_ensemble(parts, out, info, evaluation=evaluation), weighing)

    def _references(self) -> tuple[str, ...]:
        return tuple(name for name in self.modules if not is_local_module(name))

    def _info(self, members: Sequence[LocalModule]) -> "ModuleInfo":
        """What was stated; license and languages of the members where all have the same and nothing else is said."""
        from petapter.module import ModuleInfo

        licenses = {member.manifest.license for member in members}
        languages = {member.manifest.languages for member in members}
        stated = self.facts.model_dump()
        stated["license"] = stated["license"] or (licenses.pop() if len(licenses) == 1 else None)
        stated["languages"] = stated["languages"] or (languages.pop() if len(languages) == 1 else ())
        return ModuleInfo(**stated)


@dataclass(frozen=True)
class _Given:
    """What a run has read."""

    backbone: "Backbone"
    members: Sequence[LocalModule]
    test: "Sequence[Example]"
    tune: "Sequence[Example]"


def _digest(member: LocalModule) -> str:
    return sha256_file(member.directory / MANIFEST_FILE)
