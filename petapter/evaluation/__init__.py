"""Figures that carry their evaluation set, their seeds and an interval, and probabilities that can be believed."""

from petapter.evaluation.abstention import Threshold, abstention_threshold, check_error_rate
from petapter.evaluation.calibration import fit_calibration
from petapter.evaluation.comparison import ClusteredDifference, Difference, cluster_bootstrap, paired_difference
from petapter.evaluation.intervals import Figure
from petapter.evaluation.label_sets import evaluate_label_sets, gold_labels
from petapter.evaluation.metrics import evaluate_predictions, majority_accuracy
from petapter.evaluation.multilabel import evaluate_multilabel, fit_thresholds
from petapter.evaluation.probabilities import Answers, evaluate_probabilities

__all__ = [
    "Answers",
    "ClusteredDifference",
    "Difference",
    "Figure",
    "Threshold",
    "abstention_threshold",
    "check_error_rate",
    "cluster_bootstrap",
    "evaluate_label_sets",
    "evaluate_multilabel",
    "evaluate_predictions",
    "evaluate_probabilities",
    "fit_calibration",
    "fit_thresholds",
    "gold_labels",
    "majority_accuracy",
    "paired_difference",
]
