"""Training of one module on a frozen backbone."""

from petapter.training.options import TrainingOptions
from petapter.training.trainer import train

__all__ = ["TrainingOptions", "train"]
