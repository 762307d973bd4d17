"""Many modules on one resident backbone."""

from petapter.runtime.answers import Prediction
from petapter.runtime.engine import Engine, EngineStats

__all__ = ["Engine", "EngineStats", "Prediction"]
