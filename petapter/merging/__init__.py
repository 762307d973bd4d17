"""Several modules as one: their weights averaged, or their answers; measured before anything is saved."""

from petapter.merging.comparing import Comparison, Together, compare
from petapter.merging.directories import EnsembleParts, save_ensemble
from petapter.merging.members import Member, check_alike, check_mergeable, lineage_of
from petapter.merging.merging import merge
from petapter.merging.recipe import Recipe
from petapter.merging.tuning import thresholds_on
from petapter.merging.weighing import Weighing, weigh_ensemble, weigh_merge
from petapter.runtime.ensembles import shares

__all__ = [
    "Comparison",
    "EnsembleParts",
    "Member",
    "Recipe",
    "Together",
    "Weighing",
    "check_alike",
    "check_mergeable",
    "compare",
    "lineage_of",
    "merge",
    "save_ensemble",
    "shares",
    "thresholds_on",
    "weigh_ensemble",
    "weigh_merge",
]
