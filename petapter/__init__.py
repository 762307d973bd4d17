"""Train few-shot classification modules on a frozen masked language model and run many of them together.

    from petapter import Backbone, Engine, ModuleInfo, read_examples, read_task, save_module, train

The names below are imported when first used, so that `import petapter` alone does not load torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from petapter.backbone import Backbone
    from petapter.estimator import PETapterClassifier
    from petapter.module import ModuleInfo, open_module, save_module
    from petapter.runtime import Engine, Prediction
    from petapter.task import Example, lint_task, read_examples, read_task, read_texts, task_from_options
    from petapter.trained import TrainedModule
    from petapter.training import PaperOptions, StrongOptions, TrainingOptions, train, train_paper, train_strong

__all__ = [
    "Backbone",
    "Engine",
    "Example",
    "ModuleInfo",
    "PETapterClassifier",
    "PaperOptions",
    "Prediction",
    "StrongOptions",
    "TrainedModule",
    "TrainingOptions",
    "lint_task",
    "open_module",
    "read_examples",
    "read_task",
    "read_texts",
    "save_module",
    "task_from_options",
    "train",
    "train_paper",
    "train_strong",
]

_HOMES = {
    "Backbone": "petapter.backbone",
    "Engine": "petapter.runtime",
    "Example": "petapter.task",
    "ModuleInfo": "petapter.module",
    "PaperOptions": "petapter.training",
    "PETapterClassifier": "petapter.estimator",
    "Prediction": "petapter.runtime",
    "StrongOptions": "petapter.training",
    "TrainedModule": "petapter.trained",
    "TrainingOptions": "petapter.training",
    "lint_task": "petapter.task",
    "open_module": "petapter.module",
    "read_examples": "petapter.task",
    "read_task": "petapter.task",
    "read_texts": "petapter.task",
    "save_module": "petapter.module",
    "task_from_options": "petapter.task",
    "train": "petapter.training",
    "train_paper": "petapter.training",
    "train_strong": "petapter.training",
}


def __getattr__(name: str) -> object:
    """Import a public name from the file it lives in."""
    if name not in _HOMES:
        raise AttributeError(f"module 'petapter' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
