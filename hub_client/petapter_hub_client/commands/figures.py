"""Shows measured figures, always with their interval, their evaluation set and its size."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from petapter_hub_client.output import say, say_table

if TYPE_CHECKING:
    from petapter_schemas.manifest import EvaluationSpec


def show_figures(evaluation: Sequence["EvaluationSpec"]) -> None:
    """Write one line per metric."""
    rows = [
        (
            item.metric,
            f"{item.value:.4f}",
            f"{item.interval.low:.4f} to {item.interval.high:.4f}",
            f"{item.evaluation_set.name} ({item.evaluation_set.split})",
            item.evaluation_set.n,
        )
        for item in evaluation
    ]
    say_table(("metric", "value", "interval", "set", "n"), rows)
    for level, method in dict.fromkeys((item.interval.level, item.interval.method) for item in evaluation):
        say(f"interval: {level:.0%}, {method}")
