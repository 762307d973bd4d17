"""Shows measured figures, always with their interval, their evaluation set and its size."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from petapter_hub_client.output import say, say_table

if TYPE_CHECKING:
    from petapter_schemas.manifest import EvaluationSpec


def show_figures(evaluation: Sequence["EvaluationSpec"]) -> None:
    """Write one line per metric, and how its interval was made."""
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
    methods: dict[tuple[float, str], list[str]] = {}
    for item in evaluation:
        methods.setdefault((item.interval.level, item.interval.method), []).append(item.metric)
    for (level, method), metrics in methods.items():
        say(f"interval of {', '.join(dict.fromkeys(metrics))}: {level:.0%}, {method}")


def show_reliability(evaluation: Sequence["EvaluationSpec"]) -> None:
    """Write how often a module is right when it is so sure, in parts of equally many rows."""
    for item in evaluation:
        if item.reliability:
            bins = [(f"{each.confidence:.3f}", f"{each.accuracy:.3f}") for each in item.reliability]
            say("")
            say("how often it is right when it is so sure:")
            say_table(("mean probability", "share right"), bins)
