"""Training of many modules in one pass over one frozen backbone."""

from petapter.joint.passes import LowerStates
from petapter.joint.runs import JointRun, rows_without, run_without
from petapter.joint.trainer import train_jointly

__all__ = ["JointRun", "LowerStates", "rows_without", "run_without", "train_jointly"]
