"""Figures that carry their evaluation set, their seeds and an interval."""

from petapter.evaluation.metrics import evaluate_predictions, majority_accuracy

__all__ = ["evaluate_predictions", "majority_accuracy"]
