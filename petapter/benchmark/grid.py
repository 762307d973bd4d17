"""A benchmark as YAML: datasets, backbones, methods, sizes, samples and seeds, checked before anything runs."""

import itertools
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Self, TypeVar

from pydantic import BeforeValidator, Field, StringConstraints, ValidationError, model_validator

from petapter.benchmark.samples import SALT
from petapter.task.reading import read_yaml
from petapter_schemas import strict_json
from petapter_schemas.errors import InputError
from petapter_schemas.frozen import Frozen
from petapter_schemas.messages import first_problem
from petapter_schemas.names import ONE_LINE
from petapter_schemas.task import TaskSpec

PAPER = "paper"
"""The preset of the PETapter paper; every benchmark runs it beside the others."""

DATA_ROOT = "${DATA}"
"""A path that starts with this is looked up below the directory that the caller gives."""

_WHOLE = re.compile(r"[+-]?\d+")
_DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_CONSTANTS = {"true": True, "false": False, "null": None}

_Item = TypeVar("_Item")


def _several(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value if isinstance(value, tuple) else (value,)


Several = Annotated[tuple[_Item, ...], BeforeValidator(_several)]
"""One value or a list of them."""

DatasetName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
"""Becomes the name of a folder when samples are exported."""

PlainName = Annotated[str, StringConstraints(min_length=1, max_length=120, strip_whitespace=True), ONE_LINE]
Count = Annotated[int, Field(ge=1)]


class DatasetSpec(Frozen):
    """Labelled rows and the task they belong to.

    Attributes:
        train: CSV of the rows that samples are drawn from.
        test: CSV of the rows that every method answers.
        task: Labels and patterns.
        task_file: A file with them instead.
        test_rows: How many of the test rows; all by default.
        unlabelled: CSV of further texts.
        unlabelled_rows: How many of them; all by default.
        overlap: Whether samples may share rows where a class has too few.
    """

    train: str
    test: str
    task: TaskSpec | None = None
    task_file: str | None = None
    test_rows: Count | None = None
    unlabelled: str | None = None
    unlabelled_rows: Count | None = None
    overlap: bool = False

    @model_validator(mode="after")
    def _one_task(self) -> Self:
        if (self.task is None) == (self.task_file is None):
            raise ValueError("give the task either as 'task' (labels and patterns) or as 'task_file', one of them")
        return self


class MethodPlan(Frozen):
    """One method with one value for each option.

    Attributes:
        name: What the report calls it.
        method: What it is.
        options: Passed to the method.
        patterns: Use only the first so many patterns of the task.
        pattern: Use only this one, counted from 0.
        words: Use only the first so many words of each label.
        seeds: Fewer or more seeds than the grid says.
    """

    name: PlainName
    method: PlainName
    options: dict[str, object] = Field(default_factory=dict)
    patterns: Count | None = None
    pattern: int | None = Field(default=None, ge=0)
    words: Count | None = None
    seeds: Count | None = None


class MethodEntry(Frozen):
    """An entry of `methods`: every value may be a list, and then each combination is a method of its own.

    Keys that are not named here are options of the method.
    """

    method: Several[PlainName]
    name: PlainName | None = None
    patterns: Several[Count] = ()
    pattern: Several[Annotated[int, Field(ge=0)]] = ()
    words: Several[Count] = ()
    seeds: Count | None = None
    options: dict[str, Several[object]] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _collect_options(cls, value: object) -> object:
        if isinstance(value, str):
            return {"method": value}
        if not isinstance(value, dict) or "options" in value:
            return value
        own = {key: item for key, item in value.items() if key in cls.model_fields}
        return {**own, "options": {key: _typed(item) for key, item in value.items() if key not in cls.model_fields}}

    @model_validator(mode="after")
    def _one_choice_of_patterns(self) -> Self:
        if self.patterns and self.pattern:
            raise ValueError("give 'patterns' (how many) or 'pattern' (which one), not both")
        return self

    def expanded(self) -> list[MethodPlan]:
        """One plan for each combination; the values that vary are part of its name."""
        axes = {"method": self.method, "patterns": self.patterns, "pattern": self.pattern, "words": self.words}
        chosen = {key: values for key, values in axes.items() if values} | self.options
        return [
            self._plan(dict(zip(chosen, combination, strict=True)), chosen)
            for combination in itertools.product(*chosen.values())
        ]

    def _plan(self, values: dict[str, object], axes: Mapping[str, tuple[object, ...]]) -> MethodPlan:
        varied = [key for key, choices in axes.items() if len(choices) > 1 and (key != "method" or self.name)]
        name = " ".join([self.name or str(values["method"]), *(f"{key}={_shown(values[key])}" for key in varied)])
        own = {key: values.pop(key) for key in tuple(values) if key in MethodPlan.model_fields}
        return MethodPlan.model_validate({**own, "name": name, "options": values, "seeds": self.seeds})


class GridSpec(Frozen):
    """A whole benchmark.

    Attributes:
        name: Title of the report.
        datasets: By name.
        backbones: Hub ids, directories or "minilm".
        methods: What is compared. The paper's preset is added where it is missing.
        n: Sizes of the samples, totals.
        samples: Samples of each size.
        seeds: Runs of each method on each sample, with seeds 0, 1, …
        threads: Threads of torch; None leaves them as they are.
        baseline: The method that all others are compared with.
        subject: The method that is looked at more closely, against its rivals.
        rivals: Methods of this grid, or other programs by the name that the report gives them.
        salt: Part of the hashes that draw rows.
    """

    name: PlainName = "benchmark"
    datasets: dict[DatasetName, DatasetSpec] = Field(min_length=1)
    backbones: tuple[PlainName, ...] = Field(default=("minilm",), min_length=1)
    methods: tuple[MethodEntry, ...] = Field(min_length=1)
    n: Several[Count] = Field(min_length=1)
    samples: Count = 5
    seeds: Count = 3
    threads: Count | None = None
    baseline: PlainName = PAPER
    subject: PlainName | None = None
    rivals: Several[PlainName] = ()
    salt: str = SALT

    @model_validator(mode="after")
    def _names_are_clear(self) -> Self:
        names = [plan.name for plan in self.plans]
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two methods are called {repeated[0]!r}: give one of them another 'name'")
        if self.baseline not in names:
            raise ValueError(f"the baseline {self.baseline!r} is no method of this grid ({', '.join(names)})")
        return self

    @model_validator(mode="after")
    def _subject_has_rivals(self) -> Self:
        names = [plan.name for plan in self.plans]
        if (self.subject is None) != (not self.rivals):
            raise ValueError("give 'subject' (the method to look at) and 'rivals' together, or neither of them")
        if self.subject is not None and self.subject not in names:
            raise ValueError(f"the subject {self.subject!r} is no method of this grid ({', '.join(names)})")
        if self.subject in self.rivals or len(set(self.rivals)) < len(self.rivals):
            raise ValueError("'rivals' names the subject, or a rival twice: name each other method once")
        return self

    @property
    def plans(self) -> tuple[MethodPlan, ...]:
        """Every method with one value for each option, in the order of the file, the paper's preset among them."""
        plans = [plan for entry in self.methods for plan in entry.expanded()]
        if not any(plan.method == PAPER for plan in plans):
            plans.append(MethodPlan(name=PAPER, method=PAPER, patterns=1, words=1))
        return tuple(plans)


def read_grid(path: Path) -> GridSpec:
    """Read a grid file.

    Raises:
        InputError: The file cannot be read or breaks a rule; the message names the key.
    """
    document = read_yaml(path)
    if not isinstance(document, dict):
        raise InputError(f"{path} is no grid: it needs 'datasets', 'methods' and 'n'")
    try:
        return GridSpec.model_validate(document)
    except ValidationError as error:
        raise InputError(f"{path}: {first_problem(error)}") from error


def locate(path: str, grid_file: Path, data: Path | None) -> Path:
    """Where a path of a grid leads: below the data directory, or relative to the grid file.

    Raises:
        InputError: It starts with ${DATA}, and no data directory was given.
    """
    if not path.startswith(DATA_ROOT):
        return grid_file.parent / path
    if data is None:
        raise InputError(f"{grid_file}: {path!r} lies below a data directory: say which with --data DIR")
    return data / path.removeprefix(DATA_ROOT).lstrip("/")


def narrowed(task: TaskSpec, plan: MethodPlan) -> TaskSpec:
    """The task with the patterns and words that a plan keeps.

    Raises:
        InputError: The plan asks for a pattern that the task lacks.
    """
    patterns = task.patterns[: plan.patterns] if plan.pattern is None else task.patterns[plan.pattern :][:1]
    if not patterns:
        raise InputError(f"method {plan.name!r} wants pattern {plan.pattern}, the task has {len(task.patterns)}")
    labels = tuple(label.model_copy(update={"words": label.words[: plan.words]}) for label in task.labels)
    return task.model_copy(update={"patterns": patterns, "labels": labels})


def _typed(value: object) -> object:
    """Options are numbers, truth values or words; the file gives words alone."""
    if isinstance(value, list):
        return tuple(_typed(item) for item in value)
    if isinstance(value, dict):
        return {key: _typed(item) for key, item in value.items()}
    if not isinstance(value, str):
        return value
    if value in _CONSTANTS:
        return _CONSTANTS[value]
    if _WHOLE.fullmatch(value):
        return int(value)
    return float(value) if _DECIMAL.fullmatch(value) else value


def _shown(value: object) -> str:
    return value if isinstance(value, str) else strict_json.canonical(_listed(value)).decode()


def _listed(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(key): _listed(item) for key, item in value.items()}
    return [_listed(item) for item in value] if isinstance(value, Iterable) and not isinstance(value, str) else value
