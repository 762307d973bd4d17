"""Tuning: which patterns to ask in, found by rows left out, and one module that says what many say together."""

from petapter.tuning.members import Member, MemberRuns, OnMembers, Said, Trains
from petapter.tuning.options import TuneOptions
from petapter.tuning.outcome import Finalist, PatternStanding, Tuned, Voted
from petapter.tuning.tuning import tune
from petapter.tuning.watching import Watcher
from petapter.tuning.work import Work

__all__ = [
    "Finalist",
    "Member",
    "MemberRuns",
    "OnMembers",
    "PatternStanding",
    "Said",
    "Trains",
    "TuneOptions",
    "Tuned",
    "Voted",
    "Watcher",
    "Work",
    "tune",
]
