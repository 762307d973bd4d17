"""Who hears how a tuning goes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from petapter.joint.memory import JointPlan
from petapter.tuning.frozen import OnPattern
from petapter.tuning.members import OnMembers
from petapter.tuning.outcome import PatternStanding

OnStage = Callable[[str], None]
"""Called with a few words when a stage begins."""
OnStandings = Callable[[Sequence[PatternStanding]], None]
"""Called whenever more is known of the patterns."""


@dataclass(frozen=True)
class Watcher:
    """Hears how tuning goes.

    Attributes:
        on_stage: When a stage begins.
        on_pattern: As the rows are read in each pattern.
        on_members: As modules train.
        on_standings: Whenever more is known of the patterns.
        on_plan: Before a stack trains in this process, how it shares the memory.
    """

    on_stage: OnStage = lambda _: None
    on_pattern: OnPattern | None = None
    on_members: OnMembers | None = None
    on_standings: OnStandings = lambda _: None
    on_plan: Callable[[JointPlan], None] | None = None
