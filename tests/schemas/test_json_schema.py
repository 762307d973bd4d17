import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from petapter_schemas.json_schema import (
    SCHEMAS,
    ensemble_schema,
    main,
    manifest_schema,
    stack_lock_schema,
    stack_schema,
)
from tests.schemas.test_ensemble import write_ensemble
from tests.schemas.test_stack import LOCK, TOGETHER
from tests.schemas.tiny_module import build_tiny_module

_FOLDER = Path(__file__).parents[2] / "schemas"


@pytest.fixture
def document(tmp_path: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((build_tiny_module(tmp_path / "m") / "petapter.json").read_text())
    return value


def test_committed_schemas_are_up_to_date(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["json_schema", str(tmp_path)])
    main()
    assert {path.name for path in _FOLDER.glob("*.schema.json")} == set(SCHEMAS)
    for name in SCHEMAS:
        assert (_FOLDER / name).read_text() == (tmp_path / name).read_text(), "run: make schema"


def test_directory_for_the_schemas_must_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["json_schema"])
    with pytest.raises(SystemExit, match="name the directory"):
        main()


@pytest.mark.parametrize("name", list(SCHEMAS))
def test_schema_is_a_valid_schema(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMAS[name]())


def test_manifest_fits_the_schema(document: dict[str, Any]) -> None:
    jsonschema.validate(document, manifest_schema())


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("schema_version",), 2),
        (("schema_version",), None),
        (("colour",), "red"),
        (("version",), "1.0"),
        (("name",), 1),
        (("task", "labels"), {"a": "word"}),
        (("task", "labels"), []),
        (("task", "type"), "regression"),
        (("task", "patterns"), ["{text} {mask}"]),
        (("backbone", "weights_sha256"), "0"),
        (("backbone", "verbalizer_ids"), [[["x"]]]),
        (("adapter", "kind"), "prefix"),
        (("adapter", "colour"), "red"),
        (("head", "parts"), ["everything"]),
        (("training", "steps"), -1),
        (("evaluation",), [{"metric": "accuracy", "value": 0.9}]),
        (("files",), [{"path": "x"}]),
        (("files",), None),
    ],
)
def test_mutated_manifest_does_not_fit(path: tuple[str, ...], value: object, document: dict[str, Any]) -> None:
    inside = document
    for key in path[:-1]:
        inside = inside[key]
    inside[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, manifest_schema())


def test_required_fields_are_required(document: dict[str, Any]) -> None:
    for key in ("schema_version", "name", "version", "task", "backbone", "adapter", "head", "training", "files"):
        without = {name: value for name, value in document.items() if name != key}
        with pytest.raises(jsonschema.ValidationError, match=key):
            jsonschema.validate(without, manifest_schema())


@pytest.fixture
def ensemble(tmp_path: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((write_ensemble(tmp_path / "both") / "ensemble.json").read_text())
    return value


def test_ensemble_fits_its_schema(ensemble: dict[str, Any]) -> None:
    jsonschema.validate(ensemble, ensemble_schema())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("schema_version", 2),
        ("colour", "red"),
        ("labels", ["one"]),
        ("members", []),
        ("thresholds", [2]),
        ("type", "regression"),
        ("backbone", {"repo": "x"}),
    ],
)
def test_mutated_ensemble_does_not_fit(field: str, value: object, ensemble: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(ensemble | {field: value}, ensemble_schema())


def test_ensemble_without_its_version_does_not_fit(ensemble: dict[str, Any]) -> None:
    del ensemble["schema_version"]
    with pytest.raises(jsonschema.ValidationError, match="schema_version"):
        jsonschema.validate(ensemble, ensemble_schema())


def test_lock_fits_its_schema() -> None:
    jsonschema.validate(LOCK | {"modules": [*TOGETHER, *LOCK["modules"]]}, stack_lock_schema())


@pytest.mark.parametrize(
    "change",
    [
        {"lock_version": 2},
        {"modules": []},
        {"modules": [{"alias": "a"}]},
        {"modules": [LOCK["modules"][0] | {"commit": "main"}]},
        {"modules": [TOGETHER[0] | {"weight": -1}]},
        {"colour": "red"},
    ],
)
def test_mutated_lock_does_not_fit(change: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(LOCK | change, stack_lock_schema())


def stack_of(modules: object) -> dict[str, object]:
    return {"backbone": "minilm", "modules": modules}


@pytest.mark.parametrize(
    "module",
    [
        "lab:team/a@v1",
        {"module": "./a"},
        {"module": "./a", "patterns": [0, 2]},
        {"members": ["./a", {"module": "./b"}]},
        {"members": [{"module": "./a", "weight": 0.3}, {"module": "./b", "weight": 2}]},
    ],
)
def test_stack_fits_its_schema(module: object) -> None:
    jsonschema.validate(stack_of({"a": module}), stack_schema())


@pytest.mark.parametrize(
    "modules",
    [
        {},
        {"a": ["./a", "./b"]},
        {"a": ""},
        {"a": {"patterns": [0]}},
        {"a": {"module": "./a", "patterns": []}},
        {"a": {"module": "./a", "patterns": [64]}},
        {"a": {"module": "./a", "weight": 1}},
        {"a": {"members": ["./a"]}},
        {"a": {"members": ["./a", {"module": "./b", "patterns": [0]}]}},
        {"a": {"members": ["./a", {"module": "./b", "weight": -1}]}},
        {"a": {"members": ["./a", "./b"], "module": "./a"}},
    ],
)
def test_what_is_no_stack_does_not_fit(modules: object) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(stack_of(modules), stack_schema())
