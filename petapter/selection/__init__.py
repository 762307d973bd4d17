"""Choosing among ways to ask and to train by the labelled texts alone, with a score that has paid for the search."""

from petapter.selection.choosing import Choice, Standing, choose
from petapter.selection.cross_validation import Candidate, LeftOutScores, cross_validated
from petapter.selection.grouped_folds import GroupedFolds, grouped_folds

__all__ = [
    "Candidate",
    "Choice",
    "GroupedFolds",
    "LeftOutScores",
    "Standing",
    "choose",
    "cross_validated",
    "grouped_folds",
]
