import re
import shlex
from pathlib import Path

import pytest
import typer

from petapter_hub_client.cli import app
from petapter_hub_client.exit_codes import ExitCode

README = Path("hub_client/README.md").read_text(encoding="utf-8")
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]
OPTIONS = [
    (command, parameter)
    for command in (
        "train",
        "predict",
        "merge",
        "serve",
        "push",
        "pull",
        "suggest",
        "suggest-examples",
        "diff",
        "reproduce",
        "list",
        "remove",
        "verify",
        "sign",
        "login",
        "logout",
    )
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


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_command_is_documented(command: str) -> None:
    assert f"petapter {command}" in README or f"`{command}`" in README


def test_every_exit_code_is_documented() -> None:
    section = README.split("## Exit codes")[1].split("\n## ")[0]
    assert set(re.findall(r"^\| (\d+) \|", section, flags=re.MULTILINE)) == {str(int(code)) for code in ExitCode}


BLOCKS = "".join(re.findall(r"^```(?:console|sh)\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)).replace(
    "\\\n", " "
)
_WORDS = r"""(petapter (?:'[^']*'|"[^"]*"|[^|;)<>&\n'"])+)"""
LINES = re.findall(rf"^(?:\$ )?(?:[A-Z_]+=\S+ )?(?:[A-Z]+=\$\()?{_WORDS}", BLOCKS, flags=re.MULTILINE)


@pytest.mark.parametrize("line", LINES)
def test_every_line_is_one_that_the_program_knows(line: str) -> None:
    words = shlex.split(line, comments=True)
    command, rest = COMMANDS[words[1]], words[2:]
    if hasattr(command, "commands"):
        command, rest = command.commands[rest[0]], rest[1:]
    known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    assert [word for word in rest if word.startswith("-") and word != "-" and word not in known] == []
    arguments = [parameter for parameter in command.params if parameter.param_type_name == "argument"]
    assert arguments or not rest or rest[0].startswith(("-", "<"))


def test_lines_are_found() -> None:
    assert len(LINES) > 70
