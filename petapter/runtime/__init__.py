"""Many modules on one resident backbone."""

from petapter.runtime.answers import Prediction
from petapter.runtime.engine import Engine

__all__ = ["Engine", "Prediction"]
