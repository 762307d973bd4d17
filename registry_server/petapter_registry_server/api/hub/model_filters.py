"""The filters of list_models that are more than words: `gated`, `num_parameters`, and what nothing here passes."""

import re
from decimal import Decimal

from petapter_registry_server.errors import InvalidRequestError

MATCHED_BY_NONE = ("apps", "inference", "inference_provider")
"""What no module of a registry has: nothing here runs in the Hub's local apps or at its inference providers."""
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
_BOUND = re.compile(r"(min|max):([0-9]{1,15}(?:\.[0-9]{1,6})?)([KMBT]?)", re.IGNORECASE)
_YES, _NO = frozenset({"true", "1"}), frozenset({"false", "0"})


def read_gated(text: str | None) -> bool | None:
    """Whether gated repositories alone are wanted, or those alone that are not; None for all.

    Raises:
        InvalidRequestError: It is neither.
    """
    if text is None:
        return None
    if text.lower() in _YES | _NO:
        return text.lower() in _YES
    raise InvalidRequestError(f"gated: {text[:40]!r} is neither true nor false")


def read_parameter_bounds(text: str | None) -> tuple[int | None, int | None]:
    """The fewest and the most parameters of `min:6B,max:128B`; None where there is no such bound.

    Raises:
        InvalidRequestError: It is not of this form.
    """
    found: dict[str, int] = {}
    for part in text.split(",") if text else ():
        match = _BOUND.fullmatch(part.strip())
        if match is None or match[1].lower() in found:
            raise InvalidRequestError(f"num_parameters: {part[:40]!r} is no bound: write min:6B, max:128B, or both")
        found[match[1].lower()] = min(int(Decimal(match[2]) * _UNITS[match[3].upper()]), (1 << 63) - 1)
    return found.get("min"), found.get("max")
