"""Suggest against a real registry, with modules whose labels no other test has."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from petapter_hub_client.exit_codes import ExitCode
from tests.hub_client.conftest import Petapter
from tests.hub_client.tiny_reviews import CERTAIN

Publish = Callable[..., str]


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "few.csv"
    path.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in CERTAIN))
    return path


@pytest.fixture
def publish(lab: Petapter, backbone: Path, rows: Path, tmp_path: Path, repo_id: str) -> Publish:
    """Trains and pushes a module whose two labels begin as the name of the test's repository ends."""
    mark = repo_id.rpartition("-")[2]

    def train_and_push(name: str, *options: str, good: str = "good", bad: str = "bad") -> str:
        table = tmp_path / f"{name}.csv"
        named = {"good": f"{mark}{good}", "bad": f"{mark}{bad}"}
        table.write_text("text,label\n" + "".join(f"{text},{named[label]}\n" for text, label in CERTAIN))
        ran = lab(
            "train", table, "--out", tmp_path / name, "--pattern", "{text} it was {mask} .", "--label",
            f"{named['good']}=good", "--label", f"{named['bad']}=bad", "--backbone", backbone, "--preset", "plain",
            *options,
        )  # fmt: skip
        assert ran.code == 0, ran
        assert lab("push", tmp_path / name, f"{repo_id}-{name}", "-q").code == 0
        return f"lab:{repo_id}-{name}"

    return train_and_push


@pytest.fixture
def maps(repo_id: str) -> tuple[str, ...]:
    mark = repo_id.rpartition("-")[2]
    return ("--map", f"good={mark}good", "--map", f"bad={mark}bad")


def test_candidates_are_ranked_beside_having_none(
    lab: Petapter, publish: Publish, backbone: Path, rows: Path, maps: tuple[str, ...]
) -> None:
    learned, lazy = publish("learned", "--steps", "60"), publish("lazy", "--steps", "1")
    found: Any = lab("suggest", rows, *maps, "--backbone", backbone, "--json").json
    assert (found["rows"], found["skipped"]) == (len(CERTAIN), [])
    by_name = {each["module"]: each for each in found["ranked"]}
    assert set(by_name) == {learned, lazy, "(none: the most frequent label)", "(none: the bare backbone)"}
    assert [each["right"] for each in found["ranked"]] == sorted((e["right"] for e in found["ranked"]), reverse=True)
    most = found["ranked"][0]
    assert (most["is_best"], most["p_value"], by_name[learned]["rows"]) == (True, 1.0, len(CERTAIN))
    assert by_name[learned]["right"] > by_name["(none: the most frequent label)"]["right"]
    assert all(each["interval"]["low"] < 0.7 for each in found["ranked"])  # six rows say little, and intervals say so
    assert by_name["(none: the most frequent label)"]["right"] == 3
    assert not found["beats_none"]
    shown = lab("suggest", rows, *maps, "--backbone", backbone)
    assert "these rows do not show that any module is better than none" in shown.out
    assert "not distinguishable from the first" in shown.out


def test_modules_that_cannot_be_measured_are_named_with_the_reason(
    lab: Petapter, publish: Publish, backbone: Path, rows: Path, tmp_path: Path, maps: tuple[str, ...]
) -> None:
    reference = publish("only", "--steps", "1")
    other = tmp_path / "other.csv"
    other.write_text(rows.read_text().replace("text,label", "body,label"))
    ran = lab("suggest", other, *maps, "--backbone", backbone)
    assert ran.code == ExitCode.NOT_FOUND
    assert f"{reference}: it reads a column 'text'" in ran.error


def test_labels_nobody_has_are_one_line(lab: Petapter, rows: Path) -> None:
    ran = lab("suggest", rows, "--map", "good=never heard", "--map", "bad=nor this")
    assert ran.code == ExitCode.NOT_FOUND
    assert "no module on that remote has the labels never heard, nor this" in ran.error


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--map", "goood=x"), "did you mean 'good'?"),
        (("--map", "good"), "write MINE=THEIRS"),
        (("--map", "good=x", "--map", "bad=X"), "mean the same one"),
    ],
)
def test_maps_that_cannot_be_are_refused(lab: Petapter, rows: Path, options: tuple[str, ...], reason: str) -> None:
    ran = lab("suggest", rows, *options)
    assert (ran.code, reason in ran.error) == (ExitCode.REFUSED, True)


def test_rows_of_one_label_are_refused(lab: Petapter, tmp_path: Path) -> None:
    path = tmp_path / "one.csv"
    path.write_text("text,label\nfine,good\n")
    assert "two labels at least" in lab("suggest", path).error
