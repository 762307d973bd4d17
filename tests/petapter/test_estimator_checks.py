"""scikit-learn's own checks of estimators, on rows of numbers that are written out as texts."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from sklearn.utils import check_array
from sklearn.utils.estimator_checks import parametrize_with_checks
from sklearn.utils.validation import check_is_fitted, validate_data

from petapter import PETapterClassifier, TrainingOptions

VERBALIZER = {
    -1: "the", 0: "world", 1: "news", 2: "game", 3: "money", "one": "match", "two": "goal", "three": "team",
}  # fmt: skip
"""All labels that the checks use."""

EXPECTED = {
    "plain": {
        "check_sample_weight_equivalence_on_dense_data": "a row of weight 2 is drawn once, two rows are drawn twice",
    },
    "strong": {
        "check_sample_weight_equivalence_on_dense_data": (
            "a row of weight 2 is left out at once, of two rows one helps to judge the other"
        ),
        "check_methods_subset_invariance": (
            "in single precision a text's probabilities differ by some 5e-7 with the texts beside it; 1e-7 is asked for"
        ),
    },
}
"""By preset the checks that fail, and why."""


class ClassifierOfNumbers(PETapterClassifier):
    """Writes each row of numbers as a text, since the checks have nothing else; all else is the parent's."""

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "ClassifierOfNumbers":  # noqa: N803 (scikit-learn's name)
        super().fit(_written(check_array(X)), y, sample_weight)
        validate_data(self, X, reset=True)  # columns of numbers are this class's own
        return self

    def predict_proba(self, X: Any) -> Any:  # noqa: N803 (scikit-learn's name)
        check_is_fitted(self)
        return super().predict_proba(_written(validate_data(self, X, reset=False)))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = True  # else scikit-learn checks nothing
        tags.input_tags.string = False
        tags.classifier_tags.poor_score = True  # a random backbone that trains for two steps
        return tags


def _written(rows: Any) -> list[str]:
    return [" ".join(f"{value:.1f}" for value in row[:8]) for row in rows]


@parametrize_with_checks(
    [
        ClassifierOfNumbers(
            "set by the test",
            verbalizer=VERBALIZER,
            preset="plain",
            options=TrainingOptions(steps=2, rank=1, alpha=1.0),
            device="cpu",
        ),
        ClassifierOfNumbers("set by the test", verbalizer=VERBALIZER, device="cpu"),
    ],
    expected_failed_checks=lambda estimator: EXPECTED[estimator.preset],
)
def test_scikit_learn_check(
    estimator: ClassifierOfNumbers, check: Callable[[object], None], directories: dict[str, Path]
) -> None:
    check(estimator.set_params(backbone=directories["bert"]))


def test_public_estimator_says_that_it_reads_texts() -> None:
    tags = PETapterClassifier("anywhere").__sklearn_tags__()
    assert (tags.input_tags.string, tags.input_tags.two_d_array, tags.estimator_type) == (True, False, "classifier")
    assert tags.target_tags.required
