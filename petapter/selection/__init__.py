"""Choosing among ways to ask and to train by the labelled texts alone, with a score that has paid for the search."""

from petapter.selection.choosing import Choice, Standing, choose
from petapter.selection.cross_validation import Candidate, LeftOutScores, cross_validated
from petapter.selection.grouped_folds import GroupedFolds, grouped_folds
from petapter.selection.pattern_pool import PatternPool, PooledPattern, pattern_pool

__all__ = [
    "Candidate",
    "Choice",
    "GroupedFolds",
    "LeftOutScores",
    "PatternPool",
    "PooledPattern",
    "Standing",
    "choose",
    "cross_validated",
    "grouped_folds",
    "pattern_pool",
]
