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


MARKED = [("i love this film", "{m}love"), ("great food", "{m}food"), ("i love food", "{m}love|{m}food"), ("awful", "")]


def several(path: Path, mark: str, column: str = "labels") -> Path:
    path.write_text(f"text,{column}\n" + "".join(f"{text},{label.format(m=mark)}\n" for text, label in MARKED * 3))
    return path


@pytest.fixture
def published_of_several(lab: Petapter, backbone: Path, tmp_path: Path, repo_id: str) -> str:
    mark = repo_id.rpartition("-")[2]
    task = tmp_path / "task.yaml"
    task.write_text(
        f"type: multi-label\npatterns: ['{{text}} it was {{mask}} .']\nlabels: {{{mark}love: love, {mark}food: food}}\n"
    )
    ran = lab(
        "train", several(tmp_path / "train.csv", mark, "label"), "--task", task, "--out", tmp_path / "several",
        "--backbone", backbone, "--preset", "plain", "--steps", "60",
    )  # fmt: skip
    assert ran.code == 0, ran
    assert lab("push", tmp_path / "several", f"{repo_id}-several", "-q").code == 0
    return f"lab:{repo_id}-several"


def test_rows_of_several_labels_are_right_where_exactly_theirs_are_given(
    lab: Petapter, published_of_several: str, backbone: Path, tmp_path: Path, repo_id: str
) -> None:
    rows = several(tmp_path / "few.csv", repo_id.rpartition("-")[2])
    found: Any = lab("suggest", rows, "--backbone", backbone, "--json").json
    assert (found["rows"], found["of_several"], found["skipped"]) == (len(MARKED) * 3, True, [])
    by_name = {each["module"]: each for each in found["ranked"]}
    assert set(by_name) == {published_of_several, "(none: the most frequent label)"}
    assert by_name["(none: the most frequent label)"]["right"] == 3
    answers: Any = lab(
        "predict", "--module", published_of_several, "--backbone", backbone, "--input", rows, "--json"
    ).json
    given = ["|".join(sorted(each["predictions"][0]["labels"])) for each in answers]
    gold = ["|".join(sorted(label.format(m=repo_id.rpartition("-")[2]).split("|"))) for _, label in MARKED * 3]
    assert by_name[published_of_several]["right"] == sum(map(str.__eq__, given, gold))
    assert "right: all labels of a row are given" in lab("suggest", rows, "--backbone", backbone).out


def test_modules_of_one_label_are_not_measured_on_rows_of_several(
    lab: Petapter, publish: Publish, backbone: Path, tmp_path: Path, repo_id: str
) -> None:
    mark = repo_id.rpartition("-")[2]
    reference = publish("one", "--steps", "1", good="love", bad="food")
    ran = lab("suggest", several(tmp_path / "few.csv", mark), "--backbone", backbone)
    assert ran.code == ExitCode.NOT_FOUND
    assert f"{reference}: it gives one label at a time" in ran.error


def test_backbone_is_loaded_once_for_modules_and_for_having_none(
    lab: Petapter, publish: Publish, backbone: Path, rows: Path, maps: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    from petapter import Backbone

    publish("learned", "--steps", "20")
    loaded: list[object] = []
    load = Backbone.load
    monkeypatch.setattr(Backbone, "load", lambda *what, **how: loaded.append(what) or load(*what, **how))
    found: Any = lab("suggest", rows, *maps, "--backbone", backbone, "--json").json
    assert {each["module"] for each in found["ranked"] if not each["is_module"]} == {
        "(none: the most frequent label)", "(none: the bare backbone)",
    }  # fmt: skip
    assert len(loaded) == 1
