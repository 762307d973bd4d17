"""Folds of labelled rows in which texts that are nearly the same are never parted: none is trained and tested on."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from petapter.selection.near_duplicates import near_duplicate_groups
from petapter.task import Example
from petapter_schemas.errors import InputError
from petapter_schemas.task import TaskSpec


@dataclass(frozen=True)
class GroupedFolds:
    """Folds of rows.

    Attributes:
        fold_of: By row, from 0.
        count: Of the folds.
        asked: How many were asked for.
        near_duplicates: Rows that have one of the others as their like.
    """

    fold_of: tuple[int, ...]
    count: int
    asked: int
    near_duplicates: int

    def rows(self, fold: int) -> list[int]:
        """The rows of a fold."""
        return [row for row, own in enumerate(self.fold_of) if own == fold]

    @property
    def notes(self) -> tuple[str, ...]:
        """What people should know of them."""
        said: list[str] = []
        if self.count < self.asked:
            said.append(
                f"{self.count} folds instead of {self.asked}: no label may lose all its rows to one of them, and one "
                "has too few different texts for more"
            )
        if self.near_duplicates:
            said.append(f"{self.near_duplicates} rows are nearly the same as others and stay in the fold of these")
        return tuple(said)


def grouped_folds(task: TaskSpec, examples: Sequence[Example], folds: int) -> GroupedFolds:
    """Spread rows over folds, those of each set of labels as evenly as rows that belong together allow.

    Args:
        task: Its text fields.
        examples: Labelled rows.
        folds: How many to make; fewer where a label has fewer texts that are not nearly the same.

    Raises:
        InputError: Fewer than two folds are asked for, or a label has no two different texts.
    """
    if folds < 2:  # noqa: PLR2004 (without its only fold a run has no rows)
        raise InputError(f"rows are left out in two folds or more, not {folds}")
    groups = list(_groups(task, examples))
    of_label = Counter(name for group in groups for name in {n for row in group for n in examples[row].label_names})
    scarce = min(of_label, key=lambda name: of_label[name], default=None)
    if scarce is None or of_label[scarce] < 2:  # noqa: PLR2004
        raise InputError(
            f"label {scarce!r} has one text, which no fold can spare: add different texts of it, or choose without "
            "leaving rows out"
        )
    count = min(folds, of_label[scarce])
    return GroupedFolds(
        fold_of=tuple(_spread(examples, groups, count)),
        count=count,
        asked=folds,
        near_duplicates=sum(len(group) for group in groups if len(group) > 1),
    )


def _spread(examples: Sequence[Example], groups: Sequence[Sequence[int]], count: int) -> list[int]:
    """The largest groups first, each where its labels are rarest and then where there are fewest rows."""
    fold_of = [0] * len(examples)
    labels = [Counter[str]() for _ in range(count)]
    sizes = [0] * count
    order = sorted(groups, key=lambda group: (-len(group), sorted(examples[group[0]].label_names), group[0]))
    for group in order:
        own = Counter(name for row in group for name in examples[row].label_names)
        fold = min(range(count), key=lambda f: (sum(labels[f][name] * n for name, n in own.items()), sizes[f], f))
        labels[fold] += own
        sizes[fold] += len(group)
        for row in group:
            fold_of[row] = fold
    return fold_of


def _groups(task: TaskSpec, examples: Sequence[Example]) -> Iterator[list[int]]:
    """Rows that belong together."""
    return near_duplicate_groups([" ".join(example.fields[name] for name in task.fields) for example in examples])
