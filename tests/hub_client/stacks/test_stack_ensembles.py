"""Ensembles in a stack: a directory with ensemble.json, or members that stack.yaml lists with their weights."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from petapter_hub_client.stacks.opening import open_stack
from petapter_hub_client.stacks.reading import read_stack
from petapter_schemas.digests import sha256_file
from petapter_schemas.errors import StackError
from petapter_schemas.strict_json import canonical_sha256
from tests.hub_client.stacks.conftest import Publish, StackFolder
from tests.hub_client.tiny_reviews import ROWS

TEXTS = [text for text, _ in ROWS]
OTHER_TASK = {"labels": {"good": "good", "bad": "bad"}, "patterns": ["so {mask} : {text}"]}


@pytest.fixture(scope="session")
def opinions(backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A module with the labels of `reviews`, one pattern and other words; not to be changed."""
    from petapter import Backbone, Example, ModuleInfo, TrainingOptions, save_module, train
    from petapter_schemas.task import TaskSpec

    rows = [Example({"text": text}, label) for text, label in ROWS]
    options = TrainingOptions(steps=4, rank=2, adapter_lr=0.05)
    module = train(TaskSpec.model_validate(OTHER_TASK), rows, Backbone.load(backbone), options)
    directory = tmp_path_factory.mktemp("opinions") / "opinions"
    save_module(module, directory, ModuleInfo("opinions", languages=("en",)))
    return directory


@pytest.fixture
def together(stack: StackFolder, reviews: Path, opinions: Path) -> StackFolder:
    """A directory of an ensemble (1 to 3), a list of a reference and a directory (3 to 1), and the two alone."""
    from petapter import ModuleInfo
    from petapter.merging import EnsembleParts, save_ensemble

    shutil.copytree(opinions, stack.folder / "opinions")
    save_ensemble(EnsembleParts([reviews, opinions], (1, 3)), stack.folder / "both", ModuleInfo("both"))
    stack.yaml.write_text(
        f"""\
backbone: ./backbone
modules:
  both: ./both
  panel:
    members:
      - module: {stack.published}
        weight: 3
      - module: ./opinions
        weight: 1.0
  reviews: {stack.published}
  opinions: ./opinions
"""
    )
    return stack


@pytest.fixture
def locked(together: StackFolder) -> StackFolder:
    ran = together.run("lock")
    assert ran.code == 0, ran
    return together


def good(answer: Any) -> dict[str, float]:
    return {said["alias"]: said["probabilities"]["good"] for said in answer["predictions"]}


def assert_weighted(answers: Any) -> None:
    for answer in answers:
        said = good(answer)
        assert list(said) == ["both", "panel", "reviews", "opinions"]
        assert said["both"] == pytest.approx(said["reviews"] / 4 + 3 * said["opinions"] / 4, abs=1e-5)
        assert said["panel"] == pytest.approx(3 * said["reviews"] / 4 + said["opinions"] / 4, abs=1e-5)
    assert max(abs(good(answer)["both"] - good(answer)["panel"]) for answer in answers) > 0.001


def test_members_answer_by_their_weighted_mean(locked: StackFolder) -> None:
    assert_weighted(locked.run("predict", *TEXTS, "--check", "--json").json)


def test_file_of_answers_has_the_ensembles_and_not_their_members(
    locked: StackFolder, data: Path, tmp_path: Path
) -> None:
    assert locked.run("predict", "--input", data, "--output", tmp_path / "a.jsonl").code == 0
    lines = [json.loads(line)["answers"] for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    said: Any = locked.run("predict", "--input", data, "--json").json
    for line, answer in zip(lines, said, strict=True):
        found = {alias: one["probabilities"]["good"] for alias, one in line.items()}
        assert found == pytest.approx(good(answer), abs=1e-6)


def test_lock_names_the_directory_by_ensemble_json_and_each_member_by_its_manifest(
    locked: StackFolder, opinions: Path
) -> None:
    both, first, second, *_ = json.loads(locked.lock_file.read_text())["modules"]
    assert both["digest"] == sha256_file(locked.folder / "both" / "ensemble.json")
    assert "member" not in both
    assert [(one["alias"], one["member"], one["weight"]) for one in (first, second)] == [
        ("panel", 0, 3.0),
        ("panel", 1, 1.0),
    ]
    assert len(first["commit"]) == 40
    assert second["digest"] == sha256_file(opinions / "petapter.json")
    assert locked.run("lock", "--check").code == 0
    assert set(locked.run("lock", "--json").json["changes"].values()) == {"kept"}


def test_members_keep_their_commits_until_the_ensemble_is_upgraded(locked: StackFolder, publish: Publish) -> None:
    publish(locked.published, "1.1.0")
    assert locked.run("lock", "--json").json["changes"]["panel/0"] == "kept"
    changes = locked.run("lock", "--upgrade-module", "panel", "--json").json["changes"]
    assert (changes["panel/0"], changes["panel/1"], changes["reviews"]) == ("changed", "kept", "kept")


def test_worker_of_a_cluster_loads_the_same_from_wherever_its_files_lie(locked: StackFolder, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    from petapter import Engine
    from petapter_hub_client.commands.stack import _find
    from petapter_hub_client.local_runs import load_backbone, ray_module_set

    found = _find(locked.yaml)
    module_set = ray_module_set(found.find_backbone(), found.modules, "float32", check=False)
    assert list(module_set.modules) == ["both/0", "both/1", "panel/0", "panel/1", "reviews", "opinions"]
    places = {name: tmp_path / str(number) for number, name in enumerate(module_set.modules)}
    for name, directory in module_set.modules.items():
        shutil.copytree(directory, places[name])
    shutil.rmtree(locked.folder / "both")
    with Engine(load_backbone(found.find_backbone())) as engine:
        module_set.load(engine, places)
        assert engine.aliases == ("both", "panel", "reviews", "opinions")
        said = [{alias: one.probabilities["good"] for alias, one in row.items()} for row in engine.predict_all(TEXTS)]
    for row in said:
        assert row["panel"] == pytest.approx(3 * row["reviews"] / 4 + row["opinions"] / 4, abs=1e-5)


def test_opened_stack_has_one_module_for_each_alias(locked: StackFolder) -> None:
    opened = open_stack(locked.yaml).modules
    assert [one.alias for one in opened] == ["both", "panel", "reviews", "opinions"]
    both, panel, reviews, other = opened
    assert both.members is not None
    assert both.members.weights == (0.25, 0.75)
    assert panel.members is not None
    assert panel.members.directories == {"0": reviews.directory, "1": other.directory}
    assert panel.digest == canonical_sha256([[reviews.digest, 3.0], [other.digest, 1.0]])


@pytest.mark.parametrize(
    ("old", "new"), [("weight: 3", "weight: 2"), ("      - module: ./opinions\n        weight: 1.0\n", "")]
)
def test_changed_members_are_not_those_of_the_lock(locked: StackFolder, old: str, new: str) -> None:
    locked.edit(old, new)
    locked.yaml.write_text(locked.yaml.read_text().replace("weight: 3\n  rev", "weight: 3\n      - ./opinions\n  rev"))
    assert locked.run("sync", "--frozen").code == 1
    assert locked.run("lock", "--check").code == 1


def test_changed_member_of_a_directory_is_refused(locked: StackFolder) -> None:
    head = locked.folder / "both" / "members" / "1" / "head.safetensors"
    head.write_bytes(head.read_bytes()[:-1] + b"\x07")
    assert "both: " in locked.run("predict", "fine").error


def test_changed_directory_of_a_listed_member_is_refused(locked: StackFolder) -> None:
    card = locked.folder / "opinions" / "README.md"
    card.write_text(card.read_text() + "more\n")
    assert "panel/1: " in locked.run("sync", "--frozen").error


def test_members_with_other_labels_are_refused(together: StackFolder, backbone: Path) -> None:
    from petapter import Backbone, Example, ModuleInfo, TrainingOptions, save_module, train
    from petapter_schemas.task import TaskSpec

    task = TaskSpec.model_validate({"labels": {"bad": "bad", "good": "good"}, "patterns": ["{text} {mask}"]})
    rows = [Example({"text": text}, label) for text, label in ROWS]
    module = train(task, rows, Backbone.load(backbone), TrainingOptions(steps=1, rank=0))
    save_module(module, together.folder / "turned", ModuleInfo("turned"))
    together.edit("      - module: ./opinions", "      - module: ./turned")
    assert "panel/0 and panel/1 have different labels (or their order)" in together.run("lock").error


@pytest.mark.parametrize(
    ("old", "new", "cause"),
    [
        ("      - module: ./opinions", "      - module: ./both", "panel/1 is an ensemble itself"),
        ("both: ./both", "both: {module: ./both, patterns: [0]}", "both is an ensemble, whose members are asked"),
    ],
)
def test_ensemble_is_asked_whole(together: StackFolder, old: str, new: str, cause: str) -> None:
    together.edit(old, new)
    assert cause in together.run("lock").error


@pytest.mark.parametrize(
    ("members", "cause"),
    [
        ("./a", "modules.m.members is no list: write '- ' and"),
        ("[./a]", "'m' has one member: an ensemble needs two or more"),
        ("[]", "modules.m.members is empty: write"),
        ("[./a, {module: ./b, weight: 0.5}]", "members[0] has no weight but others have"),
        ("[{module: ./a, weight: x}, ./b]", "members[0].weight: 'x' is no number"),
        ("[{module: ./a, weight: nan}, {module: ./b, weight: 1}]", "members[0]: weight"),
        ("[{module: ./a, weight: -1}, {module: ./b, weight: 1}]", "members[0]: weight"),
        ("[{module: ./a, weight: 0}, {module: ./b, weight: 0}]", "one of them more than 0"),
        ("[{weight: 1}, {module: ./b, weight: 1}]", "members[0] names no module"),
        ("[{module: ./a, patterns: [0]}, ./b]", "'patterns' is no setting here: use module or weight"),
        ("[[./a], ./b]", "members[0] must hold names and values"),
    ],
)
def test_members_that_are_written_wrongly_are_one_line(members: str, cause: str, tmp_path: Path) -> None:
    path = tmp_path / "stack.yaml"
    path.write_text(f"modules:\n  m:\n    members: {members}\n")
    with pytest.raises(StackError) as raised:
        read_stack(path)
    assert cause in str(raised.value)
    assert "\n" not in str(raised.value)


def test_members_without_weights_count_alike(tmp_path: Path) -> None:
    path = tmp_path / "stack.yaml"
    path.write_text("modules:\n  m:\n    members: [./a, team/b]\n")
    entries = read_stack(path).spec.modules
    assert [(one.name, one.module, one.weight) for one in entries] == [("m/0", "./a", 1.0), ("m/1", "team/b", 1.0)]


def test_members_do_not_stand_beside_other_settings(tmp_path: Path) -> None:
    path = tmp_path / "stack.yaml"
    path.write_text("modules:\n  m:\n    members: [./a, ./b]\n    patterns: [0]\n")
    with pytest.raises(StackError, match="'patterns' is no setting here: use members"):
        read_stack(path)
