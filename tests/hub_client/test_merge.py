"""petapter merge with the real core on a tiny backbone, and what the other commands make of its results."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from petapter_schemas.manifest import manifest_digest
from tests.hub_client.conftest import Petapter, Ran
from tests.hub_client.tiny_reviews import TASK

Train = Callable[..., Path]
Merge = Callable[..., Ran]

UNSEEN = [("i love great food", "good"), ("awful film", "bad"), ("i hate food", "bad"), ("love this film", "good")]
MORE = [("great film", "good"), ("hate this food", "bad"), ("awful awful food", "bad"), ("i love food", "good")]


def write(path: Path, rows: list[tuple[str, str]]) -> Path:
    path.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in rows))
    return path


@pytest.fixture
def test_rows(tmp_path: Path) -> Path:
    return write(tmp_path / "unseen.csv", UNSEEN)


@pytest.fixture
def trained(petapter: Petapter, backbone: Path, data: Path, tmp_path: Path) -> Train:
    def make(name: str, *options: object) -> Path:
        out = tmp_path / name
        chosen = options or ("--rank", 2)
        ran = petapter(
            "train", data, "--out", out, *TASK, "--backbone", backbone, "--preset", "plain", "--steps", 3,
            "--seed", len(name), "--license", "MIT", "--language", "en", *chosen,
        )  # fmt: skip
        assert ran.code == 0, ran
        return out

    return make


@pytest.fixture
def pair(trained: Train) -> tuple[Path, Path]:
    return trained("a"), trained("bb")


@pytest.fixture
def merge(petapter: Petapter, backbone: Path, test_rows: Path, tmp_path: Path) -> Merge:
    def run(*arguments: object, out: Path | None = None) -> Ran:
        given = ("--rows", test_rows, "--out", out or tmp_path / "made", "--backbone", backbone)
        return petapter("merge", *arguments, *given)

    return run


@pytest.mark.parametrize("method", ["linear", "ties", "dare-linear", "dare-ties"])
def test_a_merge_is_a_module_with_its_lineage(
    method: str, merge: Merge, petapter: Petapter, pair: tuple[Path, Path], backbone: Path, tmp_path: Path
) -> None:
    made: Any = merge(*pair, "--method", method, "--weights", "3,1", "--json").json
    manifest = made["manifest"]
    merged = manifest["lineage"]["merge"]
    assert merged["method"] == method
    assert (merged["density"], merged["seed"]) == (None if method == "linear" else 0.5, 0 if "dare" in method else None)
    digests = [manifest_digest((member / "petapter.json").read_bytes()) for member in pair]
    assert [(member["name"], member["weight"], member["manifest_sha256"]) for member in merged["members"]] == [
        ("a", 0.75, digests[0]),
        ("bb", 0.25, digests[1]),
    ]
    assert (manifest["training"]["preset"], manifest["training"]["seeds"]) == ("merge", [1, 2])
    assert (manifest["license"], manifest["languages"]) == ("MIT", ["en"])
    assert petapter("predict", "-m", tmp_path / "made", "--backbone", backbone, "--check", "i love food").code == 0


def test_members_and_merge_are_measured_on_the_same_rows(merge: Merge, pair: tuple[Path, Path]) -> None:
    made: Any = merge(*pair, "--set-name", "unseen rows", "--json").json
    assert list(made["figures"]) == ["a", "bb", "made"]
    assert made["manifest"]["evaluation"] == made["figures"]["made"]
    sets = {(f["evaluation_set"]["name"], f["evaluation_set"]["n"]) for each in made["figures"].values() for f in each}
    assert sets == {("unseen rows", 4)}
    assert made["best"] in {"a", "bb"}
    assert made["difference"]["rows"] == 4
    assert made["difference"]["interval"]["low"] <= made["difference"]["mean"] <= made["difference"]["interval"]["high"]


def test_the_table_names_the_best_member_and_the_difference(merge: Merge, pair: tuple[Path, Path]) -> None:
    shown = merge(*pair).out
    assert "accuracy of made less that of" in shown
    assert "the best member here" in shown


def test_info_and_card_show_where_a_merge_comes_from(
    merge: Merge, petapter: Petapter, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    assert merge(*pair, "--method", "ties", "--density", "0.4").code == 0
    assert "merged by ties, density 0.4" in petapter("info", tmp_path / "made").out
    card = (tmp_path / "made" / "README.md").read_text()
    assert "## Merged from" in card
    assert "| a 0.1.0 | 0.5 |" in card


def test_rows_to_tune_on_calibrate_the_merge(merge: Merge, pair: tuple[Path, Path], tmp_path: Path) -> None:
    more = write(tmp_path / "more.csv", MORE)
    made: Any = merge(*pair, "--tune", more, "--json").json
    assert made["manifest"]["calibration"] is not None
    assert len(made["manifest"]["training"]["hyperparameters"]["tuned_on"]) == 64


def test_a_pulled_member_is_named_in_the_lineage(
    lab: Petapter, merge: Merge, pair: tuple[Path, Path], repo_id: str
) -> None:
    assert lab("push", pair[0], f"lab:{repo_id}").code == 0
    made: Any = merge(f"lab:{repo_id}", pair[1], "--json").json
    assert made["manifest"]["lineage"]["trained_from"] == [f"lab:{repo_id}"]


def test_an_ensemble_holds_its_members_whole(
    merge: Merge, pair: tuple[Path, Path], trained: Train, tmp_path: Path
) -> None:
    other = trained("ccc", "--adapter", "ia3")
    made: Any = merge(*pair, other, "--method", "ensemble", "--weights", "2,1,1", "--json").json
    assert [(m["path"], m["name"], m["weight"]) for m in made["manifest"]["members"]] == [
        ("members/0", "a", 0.5),
        ("members/1", "bb", 0.25),
        ("members/2", "ccc", 0.25),
    ]
    for number, member in enumerate((*pair, other)):
        inside = tmp_path / "made" / "members" / str(number)
        assert {path.name: path.read_bytes() for path in inside.iterdir()} == {
            path.name: path.read_bytes() for path in member.iterdir()
        }


@pytest.fixture
def ensemble(merge: Merge, pair: tuple[Path, Path], tmp_path: Path) -> Path:
    assert merge(*pair, "--method", "ensemble", "--weights", "3,1").code == 0
    return tmp_path / "made"


def test_predict_answers_with_the_weighted_mean(
    petapter: Petapter, ensemble: Path, pair: tuple[Path, Path], backbone: Path
) -> None:
    named = [option for module in (ensemble, *pair) for option in ("-m", module)]
    rows: Any = petapter("predict", *named, "--backbone", backbone, "i love food", "--check", "--json").json
    said = {answer["alias"]: answer["probabilities"]["good"] for answer in rows[0]["predictions"]}
    assert said["made"] == pytest.approx(0.75 * said["a"] + 0.25 * said["bb"], abs=1e-6)


def test_a_relative_path_to_an_ensemble_is_no_reference(
    petapter: Petapter, ensemble: Path, backbone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ensemble.parent.parent)
    relative = f"{ensemble.parent.name}/{ensemble.name}"
    assert petapter("predict", "-m", relative, "--backbone", backbone, "i love food").code == 0


def test_predict_answers_a_file(petapter: Petapter, ensemble: Path, backbone: Path, test_rows: Path) -> None:
    output = ensemble.parent / "answers.csv"
    assert petapter("predict", "-m", ensemble, "--backbone", backbone, "-i", test_rows, "-o", output).code == 0
    assert output.read_text().splitlines()[0].startswith("row,made.label,made.probability")


def test_evaluate_measures_what_the_merge_measured(
    petapter: Petapter, ensemble: Path, backbone: Path, test_rows: Path
) -> None:
    figures = petapter("evaluate", ensemble, test_rows, "--backbone", backbone, "--json").json
    written = json.loads((ensemble / "ensemble.json").read_text())["evaluation"]
    assert [figure["value"] for figure in figures] == pytest.approx([each["value"] for each in written], abs=1e-5)  # type: ignore[attr-defined]


def test_info_shows_an_ensemble(petapter: Petapter, ensemble: Path) -> None:
    assert "members/1" in petapter("info", ensemble).out
    shown: Any = petapter("info", ensemble, "--json").json
    assert shown["ensemble"]["labels"] == ["good", "bad"]


def test_push_of_an_ensemble_is_refused(petapter: Petapter, ensemble: Path) -> None:
    assert "is an ensemble" in petapter("push", ensemble, "lab:team/made").error


@pytest.mark.parametrize("victim", ["petapter.json", "head.safetensors"])
def test_a_changed_member_is_refused(victim: str, petapter: Petapter, ensemble: Path, backbone: Path) -> None:
    path = ensemble / "members" / "1" / victim
    path.write_bytes(path.read_bytes() + b" ")
    assert "was changed" in petapter("predict", "-m", ensemble, "--backbone", backbone, "x").error


def test_an_ensemble_is_no_member(merge: Merge, ensemble: Path, pair: tuple[Path, Path], tmp_path: Path) -> None:
    refused = merge(ensemble, pair[0], out=tmp_path / "other")
    assert "is an ensemble: name the modules" in refused.error


REFUSALS: list[tuple[tuple[object, ...], str]] = [
    (("--weights", "1,2,3"), "3 weights for 2 modules"),
    (("--weights", "much"), "are no numbers"),
    (("--weights", "0,0"), "not all of them 0"),
    (("--density", "0.5"), "--density belongs to ties"),
    (("--method", "ties", "--density", "2"), "density must be"),
    (("--method", "ties", "--seed", "1"), "--seed draws"),
    (("--name", "a"), "is the name of a member"),
    (("--version", "one"), "version"),
]


@pytest.mark.parametrize(("options", "reason"), REFUSALS)
def test_bad_options_are_refused_and_nothing_is_left(
    options: tuple[object, ...], reason: str, merge: Merge, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    before = sorted(tmp_path.iterdir())
    assert reason in merge(*pair, *options).error
    assert sorted(path for path in tmp_path.iterdir() if path.name != "cache") == before


def test_one_module_is_refused(merge: Merge, pair: tuple[Path, Path]) -> None:
    assert "2 to 64 modules" in merge(pair[0]).error
    assert "named twice" in merge(pair[0], pair[0]).error


def test_other_kinds_are_refused_with_the_remedy(merge: Merge, pair: tuple[Path, Path], trained: Train) -> None:
    assert "--method ensemble" in merge(pair[0], trained("ccc", "--adapter", "ia3")).error


def test_rows_that_trained_a_member_are_refused(
    petapter: Petapter, pair: tuple[Path, Path], data: Path, tmp_path: Path
) -> None:
    refused = petapter("merge", *pair, "--rows", data, "--out", tmp_path / "made")
    assert "was trained on" in refused.error


def test_rows_to_tune_on_must_be_others(merge: Merge, pair: tuple[Path, Path], test_rows: Path) -> None:
    assert "tune and test on different ones" in merge(*pair, "--tune", test_rows).error


def test_a_single_label_ensemble_has_nothing_to_tune(merge: Merge, pair: tuple[Path, Path], tmp_path: Path) -> None:
    more = write(tmp_path / "more.csv", MORE)
    assert "nothing to tune" in merge(*pair, "--method", "ensemble", "--tune", more).error


def test_a_directory_that_is_not_empty_is_refused(merge: Merge, pair: tuple[Path, Path]) -> None:
    assert "is not empty" in merge(*pair, out=pair[0]).error


@pytest.mark.parametrize("method", ["linear", "ensemble"])
def test_weights_are_chosen_on_the_rows_to_tune_on(
    merge: Merge, pair: tuple[Path, Path], tmp_path: Path, method: str
) -> None:
    more = write(tmp_path / "more.csv", MORE)
    given = ("--method", method, "--weights", "auto", "--tune", more)
    made: Any = merge(*pair, *given, "--json").json
    found = made["weights"]
    manifest = made["manifest"]
    members = manifest["members"] if method == "ensemble" else manifest["lineage"]["merge"]["members"]
    assert [member["weight"] for member in members] == pytest.approx(found["weights"])
    assert found["is_better"] == (found["equal_loss"] - found["loss"] > max(found["error"], 1e-4))
    assert found["rows"] == len(MORE)
    tuned_on = manifest["tuned_on"] if method == "ensemble" else manifest["training"]["hyperparameters"]["tuned_on"]
    assert len(tuned_on) == 64
    shown = merge(*pair, *given, out=tmp_path / "again").out
    assert f"log loss of rows left out {found['loss']:.4f}, with equal weights {found['equal_loss']:.4f}" in shown


def test_twins_count_alike_and_that_is_said(merge: Merge, trained: Train, tmp_path: Path) -> None:
    one, twin = trained("one"), tmp_path / "twin"
    shutil.copytree(one, twin)
    more = write(tmp_path / "more.csv", MORE)
    ran = merge(one, twin, "--method", "ensemble", "--weights", "auto", "--tune", more)
    assert "weights all alike: no others are better" in ran.out


def test_weights_cannot_be_chosen_without_rows(merge: Merge, pair: tuple[Path, Path]) -> None:
    assert "--weights auto chooses them on other labelled rows" in merge(*pair, "--weights", "auto").error
