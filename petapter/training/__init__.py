"""Training of one module on a frozen backbone."""

from petapter.training.options import StrongOptions, TrainingOptions
from petapter.training.paper import PaperOptions, train_paper
from petapter.training.presets import REVISIONS, PresetOptions, train
from petapter.training.strong import train_strong

__all__ = [
    "REVISIONS",
    "PaperOptions",
    "PresetOptions",
    "StrongOptions",
    "TrainingOptions",
    "train",
    "train_paper",
    "train_strong",
]
