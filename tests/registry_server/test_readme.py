import re
from pathlib import Path
from typing import Any

import pytest
import typer
import typer.main
from starlette.routing import Route
from typer.testing import CliRunner

from petapter_registry_server.api import PARTS
from petapter_registry_server.cli import app
from petapter_registry_server.commands import copies, upkeep
from petapter_registry_server.settings import Settings
from petapter_registry_server.web import all_pages

README = Path("registry_server/README.md").read_text(encoding="utf-8")
ROUTES = sorted(
    {route.path for part in (*PARTS, *all_pages.PARTS) for route in part.router.routes if isinstance(route, Route)}
)
EXPLAINED_ELSEWHERE = {"/api/models/{name}"}  # an answer for models without a namespace


@pytest.mark.parametrize("path", sorted(set(ROUTES) - EXPLAINED_ELSEWHERE))
def test_route_is_documented(path: str) -> None:
    assert f"{path}`" in README


def test_documented_routes_exist() -> None:
    documented = set(re.findall(r"`(?:[A-Z]+ )?(/[^`]*)`", README.partition("## Routes")[2].partition("\n\n")[2]))
    named = set(re.findall(r"[A-Z`, ]+ (/[^`,]*)`", README.partition("## Routes")[2]))
    assert documented | named <= set(ROUTES)


@pytest.mark.parametrize("name", sorted(set(Settings.model_fields) - {"data"}))
def test_setting_is_documented(name: str) -> None:
    assert f"`PETAPTER_REGISTRY_{name.upper()}`" in README


def commands(group: typer.Typer, before: str) -> list[str]:
    own = [f"{before} {command.name or command.callback.__name__}" for command in group.registered_commands]
    named = [
        (sub.typer_instance, f" {sub.name}" if isinstance(sub.name, str) else "") for sub in group.registered_groups
    ]
    return own + [command for sub, name in named for command in commands(sub, f"{before}{name}")]


@pytest.mark.parametrize("command", commands(app, "petapter-registry"))
def test_command_is_documented(command: str) -> None:
    assert f"{command} " in README


UPKEEP = {
    name: command
    for part in (copies, upkeep)
    for name, command in typer.main.get_command(part.app).commands.items()  # type: ignore[attr-defined]
}


@pytest.mark.parametrize("name", sorted(UPKEEP))
def test_command_for_upkeep_is_documented_with_its_options(name: str) -> None:
    usage = [line for line in README.splitlines() if line.startswith(f"    petapter-registry {name} ")]
    assert usage
    options = {option for parameter in UPKEEP[name].params for option in parameter.opts} - {"--help", "--config"}
    assert {option for option in options if option not in "".join(usage)} == set()


@pytest.mark.parametrize("command", commands(app, ""))
def test_help_shows_every_option_with_its_default(command: str) -> None:
    """Brackets in a help text are text."""
    helped = CliRunner().invoke(app, [*command.split(), "--help"], terminal_width=200)
    assert helped.exit_code == 0, helped.exception
    found: Any = typer.main.get_command(app)
    for name in command.split():
        found = found.commands[name]
    for parameter in found.params:
        said = re.findall(r"\[[^\]]*\]?", getattr(parameter, "help", None) or "")
        assert [text for text in said if text not in helped.output] == []
