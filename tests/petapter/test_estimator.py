from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from joblib import parallel_config  # type: ignore[import-untyped]  # without types of its own
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from petapter import (
    Backbone,
    Engine,
    Example,
    ModuleInfo,
    PETapterClassifier,
    TrainedModule,
    TrainingOptions,
    save_module,
    train,
)
from petapter.training import PaperOptions, StrongOptions, train_strong
from petapter_schemas.errors import (
    BackboneError,
    BackboneMismatchError,
    EstimatorDataError,
    InputError,
    PetapterError,
    TaskError,
)
from tests.petapter.conftest import QUICK, SENTIMENT, SENTIMENT_ROWS, TOPIC, TOPIC_ROWS

TEXTS = [row.fields["text"] for row in SENTIMENT_ROWS]
LABELS = [row.label for row in SENTIMENT_ROWS]
WORDS = {"pos": "great", "neg": ["awful", "bad"]}
NEW = ["a good goal", "that was a bad business", "sports"]
LEARNS = TrainingOptions(steps=60, batch_size=6, rank=2, alpha=4.0, adapter_lr=0.01, head_lr=0.01)


class Table:
    """The least that a data frame is: named columns."""

    def __init__(self, **columns: list[str]) -> None:
        self.columns = list(columns)
        self._columns = columns

    def __getitem__(self, name: str) -> Iterable[str]:
        return self._columns[name]


@pytest.fixture
def classifier(bert: Backbone) -> PETapterClassifier:
    return PETapterClassifier(bert, verbalizer=WORDS, preset="plain", options=QUICK)


def test_probabilities_are_those_of_the_module_that_train_gives(bert: Backbone, classifier: PETapterClassifier) -> None:
    # reference: the same rows through train and Engine; classes are sorted, the module's labels here are not
    trained = train(SENTIMENT, SENTIMENT_ROWS, bert, QUICK)
    with Engine(bert) as engine:
        engine.load(trained, "reference")
        answers = engine.predict([("reference", text) for text in NEW])
    found = classifier.fit(TEXTS, LABELS)
    assert found.classes_.tolist() == ["neg", "pos"]
    np.testing.assert_allclose(
        found.predict_proba(NEW), [[a.probabilities["neg"], a.probabilities["pos"]] for a in answers], atol=1e-6
    )
    assert found.predict(NEW).tolist() == [answer.label for answer in answers]


@pytest.mark.parametrize("labels", [LABELS, [1, 1, 1, -1, -1, -1], [True] * 3 + [False] * 3, [2.0] * 3 + [1.0] * 3])
def test_rows_are_learned_and_labels_come_back_as_they_were(bert: Backbone, labels: list[Any]) -> None:
    words = {labels[0]: "great", labels[-1]: "awful"}
    found = PETapterClassifier(bert, verbalizer=words, preset="plain", options=LEARNS).fit(TEXTS, np.array(labels))
    assert found.predict(TEXTS).tolist() == labels
    assert found.score(TEXTS, labels) == 1.0


def test_labels_are_the_words_where_no_verbalizer_is_given(bert: Backbone) -> None:
    found = PETapterClassifier(bert, preset="plain", options=QUICK).fit(TEXTS, ["good"] * 3 + ["bad"] * 3)
    assert [(label.name, label.words) for label in found.module_.task.labels] == [
        ("bad", ("bad",)),
        ("good", ("good",)),
    ]


def test_whole_numbers_are_one_label_however_they_are_written(bert: Backbone) -> None:
    found = PETapterClassifier(bert, verbalizer={0: "bad", 1: "good"}, preset="plain", options=QUICK).fit(
        TEXTS, [1.0] * 3 + [0.0] * 3
    )
    assert found.module_.task.label_names == ("0", "1")
    assert found.classes_.dtype == np.float64


def test_labels_that_differ_in_the_sign_alone_are_two_names(bert: Backbone) -> None:
    found = PETapterClassifier(bert, verbalizer={-1: "bad", 1: "good"}, preset="plain", options=QUICK).fit(
        TEXTS, [1] * 3 + [-1] * 3
    )
    assert found.module_.task.label_names == ("minus 1", "1")


def test_labels_that_scikit_learn_numbered_are_the_verbalizers_in_sorted_order(
    classifier: PETapterClassifier, caplog: pytest.LogCaptureFixture
) -> None:
    expected = classifier.fit(TEXTS, LABELS).predict_proba(NEW)
    found = clone(classifier).fit(TEXTS, [1, 1, 1, 0, 0, 0])
    assert "y holds the numbers 0 to 1: read as the verbalizer's labels in sorted order" in caplog.messages
    assert found.label_names_ == ("neg", "pos")
    assert found.classes_.tolist() == [0, 1]
    np.testing.assert_array_equal(found.predict_proba(NEW), expected)


def test_numbers_are_no_words(classifier: PETapterClassifier) -> None:
    with pytest.raises(TaskError, match="label '0' is a number, which is no word to predict: give a verbalizer"):
        classifier.set_params(verbalizer=None).fit(TEXTS, [1, 1, 1, 0, 0, 0])


def test_numbers_that_the_verbalizer_knows_are_no_places(bert: Backbone) -> None:
    found = PETapterClassifier(bert, verbalizer={1: "good", 0: "bad"}, preset="plain", options=QUICK).fit(
        TEXTS, [1, 1, 1, 0, 0, 0]
    )
    assert [label.words for label in found.module_.task.labels] == [("bad",), ("good",)]


TITLES = [row.fields["title"] for row in TOPIC_ROWS]
BODIES = [row.fields["body"] for row in TOPIC_ROWS]


@pytest.mark.parametrize(
    "rows",
    [
        [row.fields for row in TOPIC_ROWS],
        np.array([TITLES, BODIES]).T,
        list(zip(TITLES, BODIES, strict=True)),
        Table(body=BODIES, other=TITLES, title=TITLES),
    ],
    ids=["mappings", "array", "tuples", "frame"],
)
def test_several_text_fields_in_any_form(bert: Backbone, rows: Any) -> None:
    words = {label.name: label.words for label in TOPIC.labels}
    found = PETapterClassifier(bert, pattern=list(TOPIC.patterns), verbalizer=words, preset="plain", options=QUICK)
    found.fit(rows, [row.label for row in TOPIC_ROWS])
    # reference: the module that train gives for the same rows, whose digest names texts by field
    assert found.module_.training.rows_sha256 == train(TOPIC, TOPIC_ROWS, bert, QUICK).training.rows_sha256
    assert found.n_features_in_ == 2
    assert found.predict(rows).shape == (6,)


def test_pandas_frames_and_series(classifier: PETapterClassifier) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"text": TEXTS, "label": LABELS}, index=range(10, 16))
    by_list = classifier.fit(TEXTS, LABELS).predict_proba(NEW)
    for rows in (frame, frame[["text"]], frame["text"]):
        found = clone(classifier).fit(rows, frame["label"])
        np.testing.assert_array_equal(found.predict_proba(pandas.Series(NEW)), by_list)


def test_cross_validation_search_and_pipeline(classifier: PETapterClassifier) -> None:
    lower = FunctionTransformer(lambda rows: [text.lower() for text in rows])
    pipeline = make_pipeline(lower, classifier)
    assert cross_val_score(pipeline, TEXTS, LABELS, cv=3).shape == (3,)
    np.testing.assert_allclose(cross_val_predict(pipeline, TEXTS, LABELS, cv=3, method="predict_proba").sum(axis=1), 1)
    grid = {"petapterclassifier__options": [QUICK, replace(QUICK, rank=1)], "petapterclassifier__random_state": [0, 1]}
    search = GridSearchCV(
        pipeline, grid, cv=2, scoring=["accuracy", "neg_log_loss"], refit="accuracy", error_score="raise"
    )
    search.fit(np.array(TEXTS), LABELS)
    assert search.cv_results_["mean_test_neg_log_loss"].shape == (4,)
    assert set(search.predict(NEW)) <= {"pos", "neg"}


def test_estimators_in_threads_take_turns_on_their_backbone(classifier: PETapterClassifier) -> None:
    # reference: the same folds one after the other
    found = cross_val_predict(classifier, TEXTS, LABELS, cv=3, method="predict_proba")
    with parallel_config(backend="threading", n_jobs=3):
        at_once = cross_val_predict(classifier, TEXTS, LABELS, cv=3, method="predict_proba", n_jobs=3)
    np.testing.assert_allclose(at_once, found, atol=1e-6)


@pytest.mark.slow
def test_cross_validation_in_processes(directories: dict[str, Path]) -> None:
    # reference: the same folds in this process
    one = PETapterClassifier(directories["bert"], verbalizer=WORDS, preset="plain", options=QUICK, device="cpu")
    here, there = (cross_val_score(one, TEXTS, LABELS, cv=2, n_jobs=n, scoring="neg_log_loss") for n in (1, 2))
    np.testing.assert_allclose(there, here, atol=1e-5)


def test_a_clone_is_unfitted_and_shares_the_backbone(bert: Backbone, classifier: PETapterClassifier) -> None:
    copy = clone(classifier.fit(TEXTS, LABELS))
    assert copy.backbone is bert
    assert copy.get_params() == classifier.get_params()
    assert not hasattr(copy, "module_")
    assert clone(copy.set_params(random_state=5, preset="paper")).get_params()["random_state"] == 5


def test_folds_calibrate_the_module_and_an_error_rate_gives_it_a_threshold(
    bert: Backbone, classifier: PETapterClassifier
) -> None:
    bare = clone(classifier).fit(TEXTS, LABELS).module_
    module = classifier.set_params(calibrate_folds=2, abstain_error_rate=0.45).fit(TEXTS, LABELS).module_
    assert bare.calibration is None
    assert module.calibration is not None
    assert module.calibration.abstain_error_rate == 0.45
    assert module.training.hyperparameters["calibrate_folds"] == 2
    assert set(classifier.predict(NEW)) <= set(LABELS)
    strong = PETapterClassifier(bert, verbalizer=WORDS, calibrate_folds=2)
    with pytest.raises(InputError, match="preset 'strong' calibrates itself"):
        strong.fit(TEXTS, LABELS)


def test_a_directory_is_loaded_once_until_its_files_change(tmp_path: Path, directories: dict[str, Path]) -> None:
    from petapter import estimator

    directory = tmp_path / "copied"
    directory.mkdir()
    for path in directories["bert"].iterdir():
        (directory / path.name).write_bytes(path.read_bytes())
    one = PETapterClassifier(str(directory), verbalizer=WORDS, preset="plain", options=QUICK, device="cpu").fit(
        TEXTS, LABELS
    )
    first = estimator._resident(one.backbone, one.device)
    clone(one).fit(TEXTS, LABELS)
    assert estimator._resident(directory, "cpu") is first
    for path in directories["other-bert"].iterdir():
        (directory / path.name).write_bytes(path.read_bytes())
    assert estimator._resident(directory, "cpu") is not first
    with pytest.raises(BackboneMismatchError, match="another set of weights"):
        one.predict(NEW)


def test_the_heavier_of_two_contradictions_wins(bert: Backbone) -> None:
    classifier = PETapterClassifier(bert, verbalizer=WORDS, preset="plain", options=LEARNS)
    texts, labels = [*TEXTS, TEXTS[0]], [*LABELS, "neg"]
    for weight, expected in [(0.02, "pos"), (50.0, "neg")]:
        weights = [1.0] * 6 + [weight]
        assert classifier.fit(texts, labels, sample_weight=weights).predict(TEXTS[:1]).tolist() == [expected]


def test_rows_of_weight_zero_do_not_count(classifier: PETapterClassifier) -> None:
    expected = classifier.fit(TEXTS, LABELS).predict_proba(NEW)
    found = clone(classifier).fit([*TEXTS, "the world"], [*LABELS, "third"], sample_weight=[1] * 6 + [0])
    assert found.classes_.tolist() == ["neg", "pos"]
    np.testing.assert_array_equal(found.predict_proba(NEW), expected)


def test_seed_is_the_random_state(classifier: PETapterClassifier) -> None:
    def seeds(state: Any) -> tuple[int, ...]:
        seen: tuple[int, ...] = (
            clone(classifier).set_params(random_state=state).fit(TEXTS, LABELS).module_.training.seeds
        )
        return seen

    assert seeds(7) == (7,)
    assert seeds(np.int64(7)) == (7,)
    assert seeds(np.random.RandomState(3)) == seeds(np.random.RandomState(3)) != (0,)
    assert seeds(None) != seeds(None)


def test_strong_preset(tmp_path: Path, bert: Backbone) -> None:
    # reference: the same rows through train_strong and Engine
    found = PETapterClassifier(bert, verbalizer=WORDS, options=StrongOptions(delta="never")).fit(TEXTS, LABELS)
    assert found.module_.training.preset == "strong"
    trained = train_strong(SENTIMENT, SENTIMENT_ROWS, bert, StrongOptions(delta="never"))
    with Engine(bert) as engine:
        engine.load(trained, "reference")
        answers = engine.predict([("reference", text) for text in NEW])
    expected = [[a.probabilities["neg"], a.probabilities["pos"]] for a in answers]
    np.testing.assert_allclose(found.predict_proba(NEW), expected, atol=1e-5)
    found.save(tmp_path / "strong", ModuleInfo("strong"))
    again = PETapterClassifier.from_module(tmp_path / "strong", bert)
    np.testing.assert_allclose(again.predict_proba(NEW), expected, atol=1e-5)


def test_paper_preset(bert: Backbone) -> None:
    words = {"pos": "great", "neg": "bad"}
    found = PETapterClassifier(bert, verbalizer=words, preset="paper", options=PaperOptions(epochs=1), random_state=1)
    assert found.fit(TEXTS, LABELS).module_.training.preset == "paper"
    assert found.module_.training.seeds == (3790,)  # 1895 times the run, which is 2


def test_module_directory_there_and_back(
    tmp_path: Path, directories: dict[str, Path], bert: Backbone, classifier: PETapterClassifier
) -> None:
    manifest = classifier.fit(TEXTS, LABELS).save(tmp_path / "mood", ModuleInfo("mood", version="1.2.0"))
    assert (manifest.name, manifest.version) == ("mood", "1.2.0")
    opened = PETapterClassifier.from_module(str(tmp_path / "mood"), directories["bert"], device="cpu")
    np.testing.assert_allclose(opened.predict_proba(NEW), classifier.predict_proba(NEW), atol=1e-6)
    assert opened.predict(NEW).tolist() == classifier.predict(NEW).tolist()
    again = clone(opened).set_params(preset="plain", options=QUICK, backbone=bert).fit(TEXTS, LABELS)
    assert again.module_.task == opened.module_.task == classifier.module_.task


def test_classes_of_an_opened_module_are_sorted(tmp_path: Path, bert: Backbone, topic: TrainedModule) -> None:
    # the module's own order is sports, world, money; reference for the columns: Engine
    save_module(topic, tmp_path / "topic", ModuleInfo("topic"))
    opened = PETapterClassifier.from_module(tmp_path / "topic", bert)
    with Engine(bert) as engine:
        engine.load(topic, "topic")
        (answer,) = engine.predict([("topic", TOPIC_ROWS[0].fields)])
    assert opened.classes_.tolist() == ["money", "sports", "world"]
    expected = [answer.probabilities[name] for name in ("money", "sports", "world")]
    np.testing.assert_allclose(opened.predict_proba([TOPIC_ROWS[0].fields])[0], expected, atol=1e-6)


def test_a_module_that_gives_several_labels_is_refused(tmp_path: Path, bert: Backbone) -> None:
    task = SENTIMENT.model_copy(update={"type": "multi-label"})
    rows = [Example(row.fields, labels=row.label_names) for row in SENTIMENT_ROWS]
    save_module(train(task, rows, bert, QUICK), tmp_path / "several", ModuleInfo("several"))
    with pytest.raises(InputError, match="gives a text several labels, which a classifier cannot: ask it by Engine"):
        PETapterClassifier.from_module(tmp_path / "several", bert)


def test_no_texts_have_no_answers(classifier: PETapterClassifier) -> None:
    classifier.fit(TEXTS, LABELS)
    assert classifier.predict_proba([]).shape == (0, 2)
    assert classifier.predict([]).shape == (0,)


@pytest.mark.parametrize("call", [lambda one: one.predict(NEW), lambda one: one.save("x", ModuleInfo("x"))])
def test_unfitted_is_said(classifier: PETapterClassifier, call: Any) -> None:
    with pytest.raises(NotFittedError):
        call(classifier)


@pytest.mark.parametrize(
    ("rows", "labels", "weights", "message"),
    [
        ("one text", LABELS, None, "X must be a sequence of texts, not one str: give a list"),
        (None, LABELS, None, "X must be a sequence of texts, not one NoneType: give a list"),
        ([*TEXTS[:5], 3.5], LABELS, None, "row 5 of X: 'text' must be a text but is a float: correct or drop it"),
        ([*TEXTS[:5], None], LABELS, None, "row 5 of X: 'text' must be a text but is a NoneType: correct or drop it"),
        ([{"texts": "a"}] * 6, LABELS, None, "row 0 of X: 'text' must be a text but is missing: correct or drop it"),
        (np.array([TEXTS, TEXTS]).T, LABELS, None, "row 0 of X has 2 texts, the pattern reads 1: text"),
        (Table(body=TEXTS), LABELS, None, "X has no column 'text', which the pattern reads: add or rename one"),
        (TEXTS, None, None, "requires y to be passed, but the target y is None"),
        (TEXTS, ["pos"] * 6, None, "y has 1 class with weight: give rows of at least two classes"),
        (TEXTS, np.array([1, 1, 1, "a", "a", "a"], dtype=object), None, "y cannot be used: Unknown label type"),
        (TEXTS, np.array(["a", "a", "a", 1, 1, 1], dtype=object), None, "y cannot be used: .*not supported between"),
        (TEXTS, [0.5, 1, 2, 3, 4, 5], None, "y cannot be used: Unknown label type: continuous"),
        (TEXTS, LABELS[:5], None, "y cannot be used: .*inconsistent numbers of samples"),
        (TEXTS, LABELS, [1.0] * 5, r"sample_weight has shape \(5,\), expected \(6,\): give one for each row"),
        (TEXTS, LABELS, [1.0] * 5 + [-1.0], "weights must be 0 or more, and some must not be zero"),
        (TEXTS, LABELS, [0.0] * 6, "weights must be 0 or more, and some must not be zero"),
    ],
)
def test_rows_that_cannot_be_used_are_one_line(
    classifier: PETapterClassifier, rows: Any, labels: Any, weights: Any, message: str
) -> None:
    with pytest.raises(EstimatorDataError, match=message) as caught:
        classifier.fit(rows, labels, sample_weight=weights)
    assert isinstance(caught.value, ValueError)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"backbone": "no/where"}, BackboneError, "'no/where' is no directory: give that of a masked language model"),
        ({"pattern": []}, TaskError, "there is no pattern: write one"),
        ({"pattern": "{text} is"}, TaskError, r"the pattern: template: pattern '\{text\} is' has no \{mask\}"),
        ({"verbalizer": {"pos": "great"}}, TaskError, "the verbalizer has no word for label 'neg', which occurs in y"),
        ({"verbalizer": {"pos": "great", "neg": []}}, TaskError, "the task: labels.0.words: needs at least 1 entr"),
        ({"preset": "weak"}, InputError, "there is no preset 'weak': choose strong, plain or paper"),
        (
            {"options": PaperOptions()},
            InputError,
            "preset 'plain' has no PaperOptions: give the options of that preset",
        ),
        ({"preset": "paper"}, InputError, "preset 'paper' has no TrainingOptions: give the options of that preset"),
    ],
)
def test_parameters_that_cannot_work_are_one_line(
    classifier: PETapterClassifier, changed: dict[str, Any], error: type[PetapterError], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        classifier.set_params(**changed).fit(TEXTS, LABELS)
    assert "\n" not in str(caught.value)
    assert not hasattr(classifier, "module_")
