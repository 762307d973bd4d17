"""A bound on a measured figure, `macro_f1@germeval18-test>=0.74`; the one grammar for client and registry."""

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from petapter_schemas.errors import InputError

_BOUND = re.compile(
    r"\s*(?P<metric>[A-Za-z][\w.-]{0,199})\s*"
    r"(?:@\s*(?P<rows>[^<>=#@]{1,200}?)\s*(?:\#(?P<sha256>[0-9a-f]{8,64})\s*)?)?"
    r"(?P<relation>>=|<=|>|<)\s*(?P<value>[+-]?(?:\d{1,15}(?:\.\d{0,15})?|\.\d{1,15}))\s*"
)
_RELATIONS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    ">": operator.gt,
    "<=": operator.le,
    "<": operator.lt,
}
_SHOWN = 80


@dataclass(frozen=True)
class MetricBound:
    """A bound that a module must keep to.

    Attributes:
        metric: Name of the figure, such as `macro_f1`.
        relation: `>=`, `>`, `<=` or `<`.
        value: The bound.
        rows: Name of the evaluation set, compared without regard to case; None for any.
        sha256: How the digest of the set's rows begins, 8 to 64 digits; None for any rows of that name.
    """

    metric: str
    relation: str
    value: float
    rows: str | None = None
    sha256: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `METRIC[@SET[#SHA256]]` RELATION NUMBER.

        Raises:
            InputError: The text is no bound.
        """
        match = _BOUND.fullmatch(text)
        if match is None:
            raise InputError(
                f"{text[:_SHOWN]!r} is no bound on a metric: write for example 'accuracy>=0.8', or "
                f"'macro_f1@SET>=0.74' for one evaluation set, 'macro_f1@SET#SHA256>=0.74' for exactly these rows"
            )
        return cls(match["metric"], match["relation"], float(match["value"]), match["rows"], match["sha256"])

    @property
    def wants_more(self) -> bool:
        """Whether higher values keep to it."""
        return self.relation in {">=", ">"}

    def __str__(self) -> str:
        rows = f"@{self.rows}" if self.rows is not None else ""
        digest = f"#{self.sha256}" if self.sha256 is not None else ""
        value = f"{self.value:.15f}".rstrip("0").removesuffix(".")
        return f"{self.metric}{rows}{digest}{self.relation}{value}"

    def keeps(self, value: float) -> bool:
        """Whether a value of this metric on this set keeps to the bound."""
        return _RELATIONS[self.relation](value, self.value)
