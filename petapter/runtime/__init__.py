"""Many modules on one resident backbone."""

from petapter.runtime.answers import Prediction
from petapter.runtime.batching import Answer, Batcher, BatchReport
from petapter.runtime.engine import Engine
from petapter.runtime.stats import EngineStats
from petapter.runtime.waiting import BatchLimits

__all__ = ["Answer", "BatchLimits", "BatchReport", "Batcher", "Engine", "EngineStats", "Prediction"]
