"""The command blocks of hub_client/README.md, run as the story that they are."""

import re
import shlex

import pytest
import typer

from petapter_hub_client.cli import app
from tests.tour.alike import alike
from tests.tour.readme import README, Ran, Step, rewritten, run_tour, steps_of

TEXT = README.read_text(encoding="utf-8")
ONLY_SHOWN = {
    "Which pattern?": "minutes; tests/hub_client/test_tune.py takes a tiny backbone",
    "On which rows was it measured?": "a module measured on them; tests/hub_client tests every verb of evalset",
    "With the tools of others": "a network; tests/hub_client/signing/test_bundles.py takes keys, and no network",
    "Over a Ray cluster": "a cluster; tests/hub_client/test_predict_on_ray.py has one",
    "Export and import": "somebody else's files; tests/hub_client/importing and test_export_import.py make some",
    "Adapt a backbone to a domain": "minutes; tests/hub_client/test_adapt.py takes a tiny backbone",
    "Compare methods": "minutes; tests/hub_client/test_benchmark.py takes a tiny grid",
}
"""Sections with lines that the tour does not run, and what those would need."""


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> list[Ran]:
    return run_tour(TEXT, tmp_path_factory.mktemp("t"))


@pytest.mark.slow
def test_every_command_shows_what_the_readme_prints(ran: list[Ran]) -> None:
    different = [one.difference for one in ran if one.has_failed or not one.is_alike]
    assert different == [], "\n\n".join(different) + "\n\npython -m tests.tour.readme --write"


@pytest.mark.slow
def test_readme_that_is_right_is_written_as_it_is(ran: list[Ran]) -> None:
    assert rewritten(TEXT, ran) == TEXT


def test_every_command_of_the_program_is_in_the_tour_or_said_to_be_elsewhere() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    toured = {words[1] for step in steps_of(TEXT) for words in _petapter_calls(step.command)}
    assert set(commands) - toured == {"adapt", "benchmark", "demo", "evalset", "tune"}


def _petapter_calls(command: str) -> list[list[str]]:
    calls = re.findall(r"(?:^|[;(=]|\$\()\s*(?:\w+=\S+ )?(petapter [^;|)]+)", command.replace("\\\n", " "))
    return [shlex.split(call) for call in calls]


def test_what_is_only_shown_stands_where_that_is_said() -> None:
    for section in re.split(r"\n##+ ", TEXT):
        name, _, body = section.partition("\n")
        assert ("```sh\n" in body) <= (name in ONLY_SHOWN), name
        assert not re.search(r"^ {4}(petapter|\$) ", body, flags=re.MULTILINE), name


@pytest.mark.parametrize(
    ("printed", "found"),
    [
        ("signed on 2026-11-27T21:52:58Z", "signed on 2027-01-02T03:04:05Z"),
        ("0.2.0  2026-11-28T02:25:10.795Z  yanked", "0.2.0  2026-11-28T03:25:44.264Z  yanked"),
        (
            "moved to q/team--x-98350f7997e4-20261128T021806410666",
            "moved to q/team--x-aa350f7997e4-20271128T031806410666",
        ),
        ("digest  sha256:" + "a1" * 32, "digest    sha256:" + "b2" * 32),
        ("size  350.7 kB, every byte checked", "size  98.1 kB, every byte checked"),
        ("29 of 35   0.829", "30 of 35   0.857"),
        ("steps  40 in 3 s", "steps  40 in 11 s"),
        ("a     b\n──────\nx  y", "a  b\n────\nx  y"),
    ],
)
def test_what_differs_between_runs_is_alike(printed: str, found: str) -> None:
    assert alike(printed, found)


@pytest.mark.parametrize(
    ("printed", "found"),
    [
        ("2 modules, 21.3 MB", "3 modules, 21.3 MB"),
        ("lab:team/x@v0.1.0", "lab:team/x@v0.2.0"),
        ("accuracy 0.83", "accuracy 0.52"),
        ("yanked, superseded", "superseded"),
        ("one line", "one line\nwarning: another"),
        ("exit 8", "exit 0"),
        ("version 0.1.0", "version 0.1.1"),
        ("", "error: no such file"),
    ],
)
def test_what_means_something_else_is_not(printed: str, found: str) -> None:
    assert not alike(printed, found)


BLOCK = """\
# A
```console
$ one \\
    --two
said
$ cat > x <<'END'
$ not a command
END
$ three; echo $?
8
```
"""


def test_commands_are_found_with_all_their_lines() -> None:
    assert steps_of(BLOCK) == [
        Step("one \\\n    --two", "said"),
        Step("cat > x <<'END'\n$ not a command\nEND", ""),
        Step("three; echo $?", "8"),
    ]


def test_rewriting_changes_what_differs_alone() -> None:
    found = ("another", "", "8")
    ran = [Ran(step, said, 0) for step, said in zip(steps_of(BLOCK), found, strict=True)]
    assert rewritten(BLOCK, ran) == BLOCK.replace("said", "another")


def test_failure_that_nobody_is_told_of_is_one() -> None:
    step = Step("x", "error: no")
    assert Ran(step, "", 1).has_failed
    assert not Ran(step, "error: no", 1).has_failed
