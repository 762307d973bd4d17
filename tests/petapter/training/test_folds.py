from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from petapter import Backbone, Engine, Example, PaperOptions, StrongOptions, TrainingOptions, train
from petapter.training import folds as folds_file
from petapter.training.convex import stratified_folds
from petapter.training.evidence import row_weights, targets_of
from petapter.training.folds import Folds, fold_of_rows
from petapter.training.out_of_fold import calibration_from
from petapter_schemas.errors import InputError
from petapter_schemas.task import TaskSpec
from tests.petapter.conftest import QUICK, SENTIMENT, SENTIMENT_ROWS

FIT = replace(QUICK, steps=8, adapter_lr=0.02, head_lr=0.02)
OVERSURE = replace(QUICK, steps=40, adapter_lr=0.05, head_lr=0.05, label_smoothing=0.0)
NOISY_ROWS = [
    *SENTIMENT_ROWS,
    *(replace(row, label="neg" if row.label == "pos" else "pos") for row in SENTIMENT_ROWS[::2]),
]
PAPER_TASK = TaskSpec.model_validate(
    {"labels": {"pos": "great", "neg": "awful"}, "patterns": ["{text} It was {mask}."]}
)
SHORT_PAPER = PaperOptions(epochs=2, lr=1e-2)
TOPICS = TaskSpec.model_validate(
    {
        "type": "multi-label",
        "labels": {"sports": "sports", "money": "money"},
        "patterns": ["{text} It was {mask}."],
    }
)
TOPIC_ROWS = [
    Example({"text": text}, labels=labels)
    for text, labels in [
        ("the match was great", ("sports",)),
        ("a great goal", ("sports",)),
        ("the bank and the market", ("money",)),
        ("business and price", ("money",)),
        ("the team price", ("sports", "money")),
        ("the bank in that match", ("sports", "money")),
        ("it was that", ()),
        ("is this it", ()),
    ]
]


def left_out_by_hand(rows: list[Example], backbone: Backbone, count: int) -> torch.Tensor:
    """Label probabilities [N, L] of each row from an engine with a module trained without its fold."""
    fold_of = stratified_folds(targets_of(SENTIMENT, rows), count)
    found = torch.zeros(len(rows), 2)
    for fold in range(count):
        seen = [row for row, own in zip(rows, fold_of, strict=True) if own != fold]
        unseen = [row for row, own in enumerate(fold_of) if own == fold]
        part = train(SENTIMENT, seen, backbone, OVERSURE)
        with Engine(backbone) as engine:
            engine.load(part, "m")
            answers = engine.predict([("m", rows[row].fields) for row in unseen])
        found[unseen] = torch.tensor([list(answer.probabilities.values()) for answer in answers])
    return found


@pytest.mark.parametrize(
    ("task", "options"),
    [
        (SENTIMENT, FIT),
        (SENTIMENT, replace(FIT, rank=0)),
        (SENTIMENT, replace(FIT, head_init="random")),
        (PAPER_TASK, SHORT_PAPER),
        (PAPER_TASK, replace(SHORT_PAPER, adapter="bottleneck")),
    ],
)
def test_module_is_bit_identical_to_the_one_without_calibration(
    bert: Backbone, task: TaskSpec, options: TrainingOptions | PaperOptions
) -> None:
    bare = train(task, SENTIMENT_ROWS, bert, options)
    found = train(task, SENTIMENT_ROWS, bert, options, calibrate_folds=3)
    assert bare.calibration is None
    assert found.calibration is not None
    for mine, theirs in ((found.adapter_tensors, bare.adapter_tensors), (found.head_tensors, bare.head_tensors)):
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    same = ("task", "backbone", "adapter", "head", "adapter_config")
    assert all(getattr(found, name) == getattr(bare, name) for name in same)


def test_calibration_is_that_of_rows_scored_by_modules_that_did_not_see_them(bert: Backbone) -> None:
    found = train(SENTIMENT, NOISY_ROWS, bert, OVERSURE, calibrate_folds=3).calibration
    scores = left_out_by_hand(NOISY_ROWS, bert, 3).log()
    expected = calibration_from(SENTIMENT, scores, targets_of(SENTIMENT, NOISY_ROWS), torch.ones(len(NOISY_ROWS)))
    assert found is not None
    assert found.temperature == pytest.approx(expected.temperature, abs=1e-3)
    assert found.temperature > 1.1


def test_golden_outputs_are_those_of_the_calibrated_module(bert: Backbone) -> None:
    found = train(SENTIMENT, NOISY_ROWS, bert, OVERSURE, calibrate_folds=3)
    assert found.golden != train(SENTIMENT, NOISY_ROWS, bert, OVERSURE).golden
    with Engine(bert) as engine:
        engine.load(found, "m", check=True)


def test_callback_sees_all_runs_as_one(bert: Backbone) -> None:
    seen: list[tuple[int, int]] = []
    train(
        SENTIMENT, SENTIMENT_ROWS, bert, replace(QUICK, steps=None), calibrate_folds=2,
        on_step=lambda step, steps, _: seen.append((step, steps)),
    )  # fmt: skip
    total = (80 + 6) + 2 * (80 + 3)
    assert seen == [(step, total) for step in range(1, total + 1)]


def test_manifest_records_the_folds_and_their_time_but_the_steps_of_the_module(bert: Backbone) -> None:
    bare = train(SENTIMENT, SENTIMENT_ROWS, bert, QUICK).training
    found = train(SENTIMENT, SENTIMENT_ROWS, bert, QUICK, calibrate_folds=3).training
    assert found.hyperparameters == bare.hyperparameters | {"calibrate_folds": 3}
    assert (found.steps, found.rows_sha256, found.seeds) == (bare.steps, bare.rows_sha256, bare.seeds)


def test_seconds_include_the_folds(bert: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 110.0])
    monkeypatch.setattr(folds_file, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    assert 100 < train(SENTIMENT, SENTIMENT_ROWS, bert, QUICK, calibrate_folds=2).training.seconds < 110


def test_rows_are_checked_once_and_not_again_in_every_fold(bert: Backbone, caplog: pytest.LogCaptureFixture) -> None:
    rows = [*SENTIMENT_ROWS, SENTIMENT_ROWS[0]]
    with caplog.at_level("WARNING", logger="petapter"):
        train(SENTIMENT, rows, bert, QUICK, calibrate_folds=3)
    assert [record.getMessage() for record in caplog.records] == ["1 of 7 rows repeat a text: drop them"]


def test_multi_label_module_gets_thresholds(bert: Backbone) -> None:
    found = train(TOPICS, TOPIC_ROWS, bert, FIT, calibrate_folds=2)
    assert found.calibration is not None
    assert len(found.calibration.thresholds or ()) == 2
    assert found.calibration.thresholds != (0.5, 0.5)


def test_module_abstains_for_an_error_rate(bert: Backbone) -> None:
    found = train(SENTIMENT, SENTIMENT_ROWS, bert, FIT, calibrate_folds=3, abstain_error_rate=0.3)
    assert found.calibration is not None
    assert found.calibration.abstain_error_rate == 0.3
    assert 0 <= (found.calibration.abstain_below or 0.0) <= 1


def test_callers_random_numbers_are_left_alone_and_the_backbone_is_bare(bert: Backbone) -> None:
    before = torch.get_rng_state()
    names = [name for name, _ in bert.model.named_modules()]
    train(SENTIMENT, SENTIMENT_ROWS, bert, QUICK, calibrate_folds=2)
    assert torch.equal(torch.get_rng_state(), before)
    assert [name for name, _ in bert.model.named_modules()] == names
    assert not bert.model.training


def test_label_with_one_row_is_refused_before_training(bert: Backbone) -> None:
    steps: list[int] = []
    with pytest.raises(InputError, match="label 'neg' has one row, which no fold can spare: add rows of it"):
        train(SENTIMENT, SENTIMENT_ROWS[:4], bert, QUICK, calibrate_folds=2, on_step=lambda *_: steps.append(1))
    assert steps == []


def test_label_all_of_whose_rows_would_be_left_out_at_once_is_refused() -> None:
    rows = [
        Example({"text": str(row)}, labels=labels)
        for row, labels in enumerate(((), ("sports",), ("money",), ("sports", "money")))
    ]
    with pytest.raises(InputError, match="all 2 rows of label 'sports' are in one of 2 folds: take more folds"):
        fold_of_rows(TOPICS, rows, Folds(2))
    assert sorted(fold_of_rows(TOPICS, rows, Folds(4))) == [0, 1, 2, 3]


def test_label_without_rows_needs_none() -> None:
    task = TaskSpec.model_validate(
        {"labels": {"pos": "great", "neg": "bad", "odd": "fine"}, "patterns": ["{text} It was {mask}."]}
    )
    assert len(set(fold_of_rows(task, SENTIMENT_ROWS, Folds(3)))) == 3


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"calibrate_folds": 7}, "7 folds need 7 rows or more, and there are 6"),
        ({"calibrate_folds": 1}, "take 2 folds or more, not 1"),
        ({"calibrate_folds": 2, "abstain_error_rate": 0.05}, "cannot be promised from 6 rows"),
        ({"calibrate_folds": 2, "abstain_error_rate": 1.5}, "between 0 and 1"),
        ({"abstain_error_rate": 0.3}, "preset 'plain' knows how sure it may be from folds alone: give calibrate_folds"),
    ],
)
def test_folds_that_cannot_work_are_refused_before_training(
    bert: Backbone, given: dict[str, float], complaint: str
) -> None:
    steps: list[int] = []
    with pytest.raises(InputError, match=complaint):
        train(SENTIMENT, SENTIMENT_ROWS, bert, QUICK, on_step=lambda *_: steps.append(1), **given)  # type: ignore[arg-type]
    assert steps == []


def test_error_rate_of_a_multi_label_task_is_refused(bert: Backbone) -> None:
    with pytest.raises(InputError, match="single-label tasks: drop it"):
        train(TOPICS, TOPIC_ROWS, bert, QUICK, calibrate_folds=2, abstain_error_rate=0.3)


def test_strong_needs_no_folds(bert: Backbone) -> None:
    with pytest.raises(InputError, match=r"preset 'strong' calibrates itself .*: drop calibrate_folds"):
        train(SENTIMENT, SENTIMENT_ROWS, bert, StrongOptions(), calibrate_folds=3)


def test_class_prior_weighs_the_rows_of_plain(bert: Backbone) -> None:
    stated = SENTIMENT.model_copy(update={"class_prior": (0.9, 0.1)})
    found = train(stated, SENTIMENT_ROWS, bert, QUICK)
    weights = row_weights(stated, SENTIMENT_ROWS, targets_of(stated, SENTIMENT_ROWS)).tolist()
    weighted = [replace(row, weight=weight) for row, weight in zip(SENTIMENT_ROWS, weights, strict=True)]
    by_hand = train(SENTIMENT, weighted, bert, QUICK)
    bare = train(SENTIMENT, SENTIMENT_ROWS, bert, QUICK)
    assert all(torch.equal(found.head_tensors[name], by_hand.head_tensors[name]) for name in found.head_tensors)
    assert not torch.equal(found.head_tensors["rows.weight"], bare.head_tensors["rows.weight"])
    assert found.training.rows_sha256 == bare.training.rows_sha256


def test_class_prior_leaves_the_paper_preset_alone(bert: Backbone) -> None:
    stated = PAPER_TASK.model_copy(update={"class_prior": (0.9, 0.1)})
    found, bare = (train(task, SENTIMENT_ROWS, bert, SHORT_PAPER) for task in (stated, PAPER_TASK))
    for name, tensor in {**found.adapter_tensors, **found.head_tensors}.items():
        assert torch.equal(tensor, {**bare.adapter_tensors, **bare.head_tensors}[name])


def test_class_prior_counts_for_the_calibration_of_both(bert: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[float]] = []
    real: Callable[..., object] = folds_file.calibration_from

    def look(*given: object) -> object:
        seen.append(given[3].tolist())  # type: ignore[attr-defined]
        return real(*given)

    monkeypatch.setattr(folds_file, "calibration_from", look)
    stated = PAPER_TASK.model_copy(update={"class_prior": (0.9, 0.1)})
    for options in (QUICK, SHORT_PAPER):
        train(stated, SENTIMENT_ROWS, bert, options, calibrate_folds=2)
    assert seen == [pytest.approx([1.8] * 3 + [0.2] * 3)] * 2
