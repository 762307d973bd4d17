"""Groups of commands whose `--help` does not wait for pydantic: the flags of a group that nobody gave are False.

Typer 0.29 has pydantic read every value that is no bool yet, also the None of its own `--help` and
`--install-completion`; importing pydantic is a third of the time that `petapter search --help` takes.
"""

from typing import Any

from typer.core import TyperGroup, TyperOption


class QuickGroup(TyperGroup):
    """As typer's own, but for the default of flags that have none."""

    def get_params(self, ctx: Any) -> list[Any]:  # noqa: ANN401 (of the click that typer keeps to itself)
        """The parameters, each flag with a default."""
        params = super().get_params(ctx)
        for param in params:
            if isinstance(param, TyperOption) and param.is_bool_flag and param.default is None:
                param.default = False
        return params
