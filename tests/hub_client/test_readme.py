from pathlib import Path

import pytest
import typer

from petapter_hub_client.cli import app

README = Path("hub_client/README.md").read_text(encoding="utf-8")
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]
OPTIONS = [
    (command, parameter)
    for command in ("train", "predict", "merge", "serve")
    for parameter in COMMANDS[command].params
    if parameter.param_type_name == "option"
]
NAMES = sorted({name for _, parameter in OPTIONS for name in parameter.opts if name.startswith("--")})


@pytest.mark.parametrize("option", NAMES)
def test_option_of_the_larger_commands_is_documented(option: str) -> None:
    assert f"{option}`" in README or f"{option} " in README


@pytest.mark.parametrize(("command", "parameter"), OPTIONS, ids=str)
def test_option_of_the_larger_commands_explains_itself(command: str, parameter: typer.models.ParameterInfo) -> None:
    assert parameter.help, command
