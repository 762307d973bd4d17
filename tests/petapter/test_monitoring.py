from dataclasses import replace
from pathlib import Path

import pytest

from petapter import Backbone, Example, ModuleInfo, TrainedModule, TrainingOptions, open_module, save_module, train
from petapter.merging import Recipe, merge
from petapter.monitoring import MOST_TEXTS, drift
from petapter.training import StrongOptions
from petapter_schemas.errors import InputError
from petapter_schemas.task import TaskSpec
from tests.petapter.conftest import SENTIMENT, SENTIMENT_ROWS

ROWS = SENTIMENT_ROWS * 3
PLAIN = TrainingOptions(steps=2, batch_size=4, rank=2, alpha=4.0)
TEXTS = [row.fields for row in SENTIMENT_ROWS] * 4


@pytest.fixture(scope="module")
def strong(bert: Backbone) -> TrainedModule:
    return train(SENTIMENT, ROWS, bert, StrongOptions())


def test_strong_module_carries_what_left_out_rows_were_told(strong: TrainedModule) -> None:
    assert strong.profile is not None
    assert strong.profile.texts == len(ROWS)
    assert strong.profile.answers is not None
    assert strong.profile.answers.texts == len(ROWS)


def test_delta_is_described_by_the_rows_of_its_trials(bert: Backbone) -> None:
    options = StrongOptions(least_rows=8, steps=4)
    profile = train(SENTIMENT, ROWS * 2, bert, options).profile
    assert profile is not None
    assert profile.answers is not None
    assert profile.answers.texts in {len(ROWS), len(ROWS) * 2}  # half of the rows where the delta ships


def test_plain_module_has_answers_where_it_is_calibrated(bert: Backbone) -> None:
    alone = train(SENTIMENT, ROWS, bert, PLAIN).profile
    folded = train(SENTIMENT, ROWS, bert, PLAIN, calibrate_folds=2).profile
    assert alone is not None
    assert folded is not None
    assert alone.answers is None
    assert folded.answers is not None
    assert (folded.lengths, folded.tokens) == (alone.lengths, alone.tokens)


def test_multi_label_module_is_compared_by_the_rates_of_its_labels(bert: Backbone, tmp_path: Path) -> None:
    task = TaskSpec.model_validate({**SENTIMENT.model_dump(), "type": "multi-label"})
    rows = [Example(row.fields, labels=(row.label,)) for row in ROWS]
    trained = train(task, rows, bert, StrongOptions())
    assert trained.profile is not None
    assert trained.profile.answers is None
    assert trained.profile.rates is not None
    assert trained.profile.rates.texts == len(ROWS)
    report = drift(bert, trained, TEXTS)
    told = bool(trained.profile.rates.labels)
    assert [finding.what for finding in report.findings] == ["lengths", "tokens", *(["labels"] if told else [])]
    assert len(report.labels) == len(trained.profile.rates.labels)
    save_module(trained, tmp_path / "m", ModuleInfo("m"))
    assert open_module(tmp_path / "m", bert).profile == trained.profile


def test_multi_label_module_that_was_never_left_out_has_no_rates(bert: Backbone) -> None:
    task = TaskSpec.model_validate({**SENTIMENT.model_dump(), "type": "multi-label"})
    rows = [Example(row.fields, labels=(row.label,)) for row in ROWS]
    trained = train(task, rows, bert, PLAIN)
    assert trained.profile is not None
    assert trained.profile.rates is None
    assert [finding.what for finding in drift(bert, trained, TEXTS).findings] == ["lengths", "tokens"]


def test_profile_survives_the_directory(strong: TrainedModule, bert: Backbone, tmp_path: Path) -> None:
    manifest = save_module(strong, tmp_path / "m", ModuleInfo("m"))
    assert "profile.json" in {file.path for file in manifest.files}
    assert open_module(tmp_path / "m", bert).profile == strong.profile
    assert drift(bert, tmp_path / "m", TEXTS) == drift(bert, strong, TEXTS)


def test_merged_module_has_no_profile(strong: TrainedModule, bert: Backbone) -> None:
    merged = merge([strong, strong], bert, Recipe())
    assert merged.profile is None
    with pytest.raises(InputError, match="has no profile"):
        drift(bert, merged, TEXTS)


def test_most_probable_label_counts_where_the_module_abstains(strong: TrainedModule, bert: Backbone) -> None:
    assert strong.calibration is not None
    silent = replace(strong, calibration=strong.calibration.model_copy(update={"abstain_below": 1.0}))
    assert drift(bert, silent, TEXTS) == drift(bert, strong, TEXTS)


def test_very_many_texts_are_drawn_from(strong: TrainedModule, bert: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    assert MOST_TEXTS >= 1000
    monkeypatch.setattr("petapter.monitoring.MOST_TEXTS", 15)
    assert drift(bert, strong, TEXTS).texts == 15
