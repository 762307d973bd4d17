import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from petapter_schemas.json_schema import main, manifest_schema
from tests.schemas.tiny_module import build_tiny_module

_COMMITTED = Path(__file__).parents[2] / "schemas" / "petapter-manifest-v1.schema.json"


@pytest.fixture
def document(tmp_path: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((build_tiny_module(tmp_path / "m") / "petapter.json").read_text())
    return value


def test_committed_schema_is_up_to_date(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["json_schema", str(tmp_path / "schema.json")])
    main()
    assert _COMMITTED.read_text() == (tmp_path / "schema.json").read_text(), (
        f"run: python -m petapter_schemas.json_schema {_COMMITTED.relative_to(Path(__file__).parents[2])}"
    )


def test_schema_is_a_valid_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(manifest_schema())


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
