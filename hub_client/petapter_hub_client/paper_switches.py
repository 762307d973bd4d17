"""Reads `--paper KEY=VALUE`: the choices of preset `paper` that may be another than its own, under their own names."""

from collections.abc import Mapping, Sequence
from typing import Final

from petapter_schemas.errors import InputError

Switch = str | int | bool

_YES_OR_NO: Final[Mapping[str, Switch]] = {"true": True, "false": False}
PAPER_SWITCHES: Final[Mapping[str, Mapping[str, Switch]]] = {
    "pad": {"512": 512, "dynamic": "dynamic"},
    "verbalizer_space": _YES_OR_NO,
    "truncate_verbalizer": _YES_OR_NO,
    "text_apart": _YES_OR_NO,
    "ia3_place": {"before-activation": "before-activation", "after-activation": "after-activation"},
}
"""Of each switch what may be written, and what it means to `petapter.training.PaperOptions`."""


def read_paper_switches(written: Sequence[str]) -> dict[str, Switch]:
    """The switches that were given, by name.

    Raises:
        InputError: One is unknown, has no such value, or is given twice.
    """
    found: dict[str, Switch] = {}
    for each in written:
        name, equals, value = each.partition("=")
        if name not in PAPER_SWITCHES:
            known = ", ".join(PAPER_SWITCHES)
            raise InputError(f"--paper has no {name!r}: choose among {known}")
        values = PAPER_SWITCHES[name]
        if not equals or value not in values:
            raise InputError(
                f"--paper {each!r} says nothing: write {' or '.join(f'{name}={known}' for known in values)}"
            )
        if name in found:
            raise InputError(f"--paper gives {name} twice: give it once")
        found[name] = values[value]
    return found
