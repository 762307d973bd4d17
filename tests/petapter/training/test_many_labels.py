"""Tasks of 77 and 150 labels, as of banking and of assistants: folds, and training with two rows of each label."""

from itertools import product
from string import ascii_lowercase

import pytest
import torch
from torch import Tensor

from petapter import Backbone, Engine, Example, StrongOptions, TrainingOptions, train
from petapter.selection import word_candidates
from petapter.selection.word_candidates import RowsAtMask
from petapter.training import convex
from petapter.training.convex import stratified_folds
from petapter.training.evidence import targets_of
from petapter.training.folds import Folds, fold_of_rows
from petapter_schemas.task import TaskSpec

COUNTS = (77, 150)
PLAIN = TrainingOptions(steps=2, batch_size=16, rank=1, alpha=2.0)
DELTA = StrongOptions(steps=4, batch_size=16)
"""Only that they run: a backbone of random weights learns nothing in so few steps."""


def task_of(labels: int, kind: str = "single-label") -> TaskSpec:
    """Labels named by words of two letters, each of two tokens at most."""
    words = ["".join(letters) for letters in product(ascii_lowercase, repeat=2)][-labels:]
    return TaskSpec.model_validate(
        {"type": kind, "labels": {word: word for word in words}, "patterns": ["{text} It was {mask}{mask}."]}
    )


def rows_of(task: TaskSpec, each: int = 2) -> list[Example]:
    """So many rows of every label, those of one label far apart."""
    return [
        Example({"text": f"the {name} {word}"}, name)
        for word in ("game", "market", "price")[:each]
        for name in task.label_names
    ]


def folds_by_powers_of_two(targets: Tensor, folds: int) -> list[int]:
    """Reference: the formula by which results with at most 51 labels were made; from index 50 on all are one to it."""
    kind = targets.double() @ (2.0 ** torch.arange(targets.shape[1], dtype=torch.float64).clamp(max=50))
    fold_of = [0] * len(targets)
    for position, row in enumerate(torch.argsort(kind, stable=True).tolist()):
        fold_of[row] = position % folds
    return fold_of


@pytest.mark.parametrize("several", [False, True], ids=["single-label", "multi-label"])
@pytest.mark.parametrize("labels", [2, 3, 6, 10, 33, 49, 50])
def test_folds_of_up_to_50_labels_are_those_of_published_results(labels: int, *, several: bool) -> None:
    generator = torch.Generator().manual_seed(labels)
    for rows in (2, 7, 10, 60, 100, 301):
        if several:
            targets = (torch.rand(rows, labels, generator=generator) < 2 / labels).float()
        else:
            targets = torch.eye(labels)[torch.randint(labels, (rows,), generator=generator)]
        for folds in (2, 4, 5, 10):
            assert stratified_folds(targets, folds) == folds_by_powers_of_two(targets, folds)


@pytest.mark.parametrize("labels", COUNTS)
@pytest.mark.parametrize("folds", [2, 4, 10])
def test_rows_of_every_label_are_spread_over_the_folds(labels: int, folds: int) -> None:
    generator = torch.Generator().manual_seed(labels)
    label_of = torch.arange(labels).repeat(folds)[torch.randperm(labels * folds, generator=generator)]
    fold_of = torch.tensor(stratified_folds(torch.eye(labels)[label_of], folds))
    for label in range(labels):
        assert sorted(fold_of[label_of == label].tolist()) == list(range(folds))


def test_rows_with_the_same_set_of_many_labels_are_spread_over_the_folds() -> None:
    pairs = [(label, (label + 60) % 150) for label in range(0, 150, 3)]
    targets = torch.zeros(4 * len(pairs), 150)
    for row in range(len(targets)):
        targets[row, list(pairs[row % len(pairs)])] = 1
    fold_of = stratified_folds(targets, 4)
    for pair in range(len(pairs)):
        assert sorted(fold_of[pair :: len(pairs)]) == [0, 1, 2, 3]


@pytest.mark.parametrize("labels", COUNTS)
@pytest.mark.parametrize("folds", [2, 5])
def test_two_rows_of_every_label_are_enough_to_leave_rows_out(labels: int, folds: int) -> None:
    task = task_of(labels)
    fold_of = fold_of_rows(task, rows_of(task), Folds(folds))
    assert all(fold_of[label] != fold_of[label + labels] for label in range(labels))


@pytest.mark.parametrize("labels", COUNTS)
@pytest.mark.parametrize("options", [StrongOptions(delta="never"), DELTA], ids=["never", "auto"])
def test_strong_trains_many_labels(
    bert: Backbone, monkeypatch: pytest.MonkeyPatch, labels: int, options: StrongOptions
) -> None:
    monkeypatch.setattr(convex, "TRUSTS", (0.3,))  # a third of the candidates, and of the seconds
    task = task_of(labels)
    rows = rows_of(task)
    module = train(task, rows, bert, options)
    assert module.training.hyperparameters["shipped"] in {"convex", "delta"}
    assert share_right(bert, module, rows) > 20 / labels


@pytest.mark.parametrize("labels", COUNTS)
def test_plain_trains_and_calibrates_many_labels(bert: Backbone, labels: int) -> None:
    task = task_of(labels)
    module = train(task, rows_of(task), bert, PLAIN, calibrate_folds=2)
    assert module.calibration is not None
    assert module.calibration.temperature != 1.0


@pytest.mark.parametrize("labels", COUNTS)
def test_plain_calibrates_rows_of_many_labels_each(bert: Backbone, labels: int) -> None:
    task = task_of(labels, "multi-label")
    names = task.label_names
    rows = [
        Example({"text": f"the {name} {word}"}, labels=(name, names[at - 60]))
        for word in ("game", "market", "price")
        for at, name in enumerate(names)
    ]
    assert targets_of(task, rows).sum(dim=1).tolist() == [2.0] * len(rows)
    module = train(task, rows, bert, PLAIN, calibrate_folds=3)
    assert module.calibration is not None
    assert len(module.calibration.thresholds or ()) == labels


def test_both_halves_of_the_rows_look_for_words_of_the_last_of_many_labels() -> None:
    targets = torch.eye(62).repeat(4, 1)  # four rows of each label, labels in turn
    said = RowsAtMask(torch.arange(5), targets @ torch.eye(5).repeat(13, 1)[:62], targets)
    for label in range(62):
        ((token, ratio, judges),) = word_candidates._proposed(said, label, range(5), most=1)
        assert (token, bool(judges.all())) == (label % 5, True)
        assert ratio > 0.7


def share_right(backbone: Backbone, module: object, rows: list[Example]) -> float:
    with Engine(backbone) as engine:
        engine.load(module, "m")  # type: ignore[arg-type]
        answers = engine.predict([("m", row.fields) for row in rows])
    return sum(answer.label == row.label for answer, row in zip(answers, rows, strict=True)) / len(rows)
