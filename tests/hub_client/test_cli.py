"""The command line itself: fast, light, one-line errors, exit codes."""

import subprocess
import sys
from pathlib import Path

import pytest

from petapter_hub_client.cli import main
from tests.hub_client.conftest import Petapter

HEAVY = ("torch", "transformers", "peft", "safetensors", "huggingface_hub", "rich")
COMMANDS = ("train", "evaluate", "predict", "push", "pull", "search", "info", "login", "whoami", "remote", "demo")
PROGRAM = Path(sys.executable).parent / "petapter"


@pytest.mark.parametrize("arguments", [["--help"], *([command, "--help"] for command in COMMANDS)], ids=" ".join)
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    script = (
        "import sys\nfrom petapter_hub_client.cli import main\n"
        f"try:\n    main({arguments!r})\nexcept SystemExit as end:\n    assert not end.code\n"
        f"sys.exit(' '.join(name for name in {HEAVY!r} if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""


@pytest.mark.parametrize("name", ["push", "pull", "search"])
def test_remote_work_needs_neither_core_nor_torch(name: str) -> None:
    script = (
        f"import sys, petapter_hub_client\npetapter_hub_client.{name}\n"
        "sys.exit(' '.join({'petapter', 'torch', 'transformers', 'safetensors'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(petapter: Petapter, command: str) -> None:
    assert "Usage: petapter" in petapter(command, "-h").out


def test_version_is_shown(petapter: Petapter) -> None:
    assert petapter("--version").out.startswith("petapter 0.")


def test_no_arguments_show_help(petapter: Petapter) -> None:
    assert "Commands:" in petapter().err


def test_unknown_command_is_wrong_usage(petapter: Petapter) -> None:
    assert petapter("bogus").code == 2


def test_interrupt_ends_with_130(petapter: Petapter, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("petapter_hub_client.searching.search", interrupt)
    assert petapter("search").code == 130


def test_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("petapter_hub_client.searching.search", broken)
    with pytest.raises(ZeroDivisionError):
        main(["search"])


def test_file_that_cannot_be_written_is_one_line(petapter: Petapter, tmp_path: Path) -> None:
    (tmp_path / "config").write_text("a file, not a directory")
    assert str(tmp_path / "config") in petapter("remote", "add", "lab", "http://127.0.0.1:1").error


def test_closed_pipe_is_quiet() -> None:
    with subprocess.Popen([PROGRAM, "remote", "list"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "data.csv", "--out", "module"],
        ["evaluate", "module", "data.csv"],
        ["predict", "--module", "module", "text"],
        ["demo"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_without_torch_one_line_says_what_to_install(
    petapter: Petapter, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("petapter_hub_client.commands.options.find_spec", lambda _: None)
    error = petapter(*arguments).error
    assert error == f"error: petapter {arguments[0]} needs torch: pip install 'petapter[train]'"


def test_terminal_control_characters_in_an_error_are_dropped(petapter: Petapter) -> None:
    assert "\x1b" not in petapter("pull", "team/x\x1b[31m").error
