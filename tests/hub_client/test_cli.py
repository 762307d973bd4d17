"""The command line itself: fast, light, one-line errors, exit codes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from petapter_hub_client.cli import main
from tests.hub_client.conftest import Petapter
from tests.schemas.tiny_module import TinyModule

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


def test_options_of_every_command_stand_before_it_too(lab: Petapter) -> None:
    ran = lab("--quiet", "search", "no-such-module-anywhere")
    assert (ran.code, ran.out, ran.err) == (0, "", "")


@pytest.mark.parametrize(
    "arguments", [["train", "x", "--out", "y", "--preset", "strng"], ["remve"], ["pull", "--chek"]]
)
def test_misspelt_usage_names_the_nearest(petapter: Petapter, arguments: list[str]) -> None:
    ran = petapter(*arguments)
    assert ran.code == 2
    assert any(name in ran.err for name in ("Did you mean 'strong'?", "Did you mean 'remove'", "--check")), ran.err


def test_misspelt_directory_gets_the_nearest_one(
    petapter: Petapter, tiny_module: TinyModule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_module(tmp_path / "reviews")
    monkeypatch.chdir(tmp_path)
    assert petapter("predict", "--module", "reveiws", "text").error.endswith("did you mean 'reviews'?")


@pytest.mark.parametrize(("no_color", "expected"), [("", True), ("1", False)])
def test_no_color_takes_the_colour_away(tmp_path: Path, no_color: str, *, expected: bool) -> None:
    """On a terminal of its own, since colours are left out elsewhere anyway."""
    command = f"{PROGRAM} search --remote nowhere"
    env = os.environ | {"NO_COLOR": no_color, "TERM": "xterm"}
    shown = subprocess.run(
        ["script", "-qec", command, str(tmp_path / "typescript")], capture_output=True, env=env, check=False
    ).stdout  # fmt: skip
    assert b"there is no remote" in shown
    assert (b"\x1b[31m" in shown) == expected


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


def completed(words: list[str], tmp_path: Path) -> list[str]:
    """What the shell's function for petapter offers for the last of the words, as bash splits them."""
    script = (
        'eval "$(petapter --show-completion bash)"\nCOMP_WORDS=("$@")\nCOMP_CWORD=$(($# - 1))\n'
        "_petapter_completion petapter\nprintf '%s\\n' \"${COMPREPLY[@]}\""
    )
    path = f"{PROGRAM.parent}:{os.environ['PATH']}"
    env = os.environ | {"PATH": path, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}  # no parent is a shell here
    done = subprocess.run(
        ["bash", "-c", script, "bash", *words], capture_output=True, text=True, check=True, env=env, cwd=tmp_path
    )
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["petapter", "whoami", "l"], ["lab"]),
        (["petapter", "pull", "la"], ["lab:"]),
        (["petapter", "remot"], ["remote"]),
        (["petapter", "pull", "--qui"], ["--quiet"]),
    ],
    ids=" ".join,
)
def test_tab_key_completes(petapter: Petapter, tmp_path: Path, words: list[str], expected: list[str]) -> None:
    petapter("remote", "add", "lab", "http://127.0.0.1:9")
    assert completed(words, tmp_path) == expected


def test_tab_key_completes_cached_modules_across_the_breaks_of_bash(
    lab: Petapter, tiny_module: TinyModule, tmp_path: Path, repo_id: str
) -> None:
    lab("push", tiny_module(tmp_path / "m"), repo_id)
    lab("pull", repo_id)
    assert completed(["petapter", "pull", "lab", ":", "te"], tmp_path) == [repo_id, f"{repo_id}@v1.0.0"]
    assert completed(["petapter", "pull", "lab", ":"], tmp_path) == [repo_id, f"{repo_id}@v1.0.0"]
    assert completed(["petapter", "remove", "lab", ":", repo_id, "@"], tmp_path) == ["@v1.0.0"]
    assert completed(["petapter", "remove", "lab", ":", repo_id, "@", "v"], tmp_path) == ["v1.0.0"]
    assert completed(["petapter", "info", ""], tmp_path)[-1] == "m/"
