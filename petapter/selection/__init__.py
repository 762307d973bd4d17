"""Choosing among ways to ask and to train by the labelled texts alone, with a score that has paid for the search."""

from petapter.selection.choosing import Choice, Standing, choose
from petapter.selection.cross_validation import Candidate, LeftOutScores, cross_validated
from petapter.selection.frozen_ranking import RowRanking, TextRanking, rank_by_rows, rank_by_texts
from petapter.selection.grouped_folds import GroupedFolds, grouped_folds
from petapter.selection.labelling import SuggestedText, SuggestedTexts, suggest_examples
from petapter.selection.pattern_pool import PatternPool, PooledPattern, pattern_pool
from petapter.selection.word_mining import MinedWords, TriedWord, mine_words
from petapter.selection.zero_label import zero_label_module

__all__ = [
    "Candidate",
    "Choice",
    "GroupedFolds",
    "LeftOutScores",
    "MinedWords",
    "PatternPool",
    "PooledPattern",
    "RowRanking",
    "Standing",
    "SuggestedText",
    "SuggestedTexts",
    "TextRanking",
    "TriedWord",
    "choose",
    "cross_validated",
    "grouped_folds",
    "mine_words",
    "pattern_pool",
    "rank_by_rows",
    "rank_by_texts",
    "suggest_examples",
    "zero_label_module",
]
