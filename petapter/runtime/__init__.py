"""Many modules on one resident backbone."""

from petapter.runtime.engine import Engine, Prediction

__all__ = ["Engine", "Prediction"]
