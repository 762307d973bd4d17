import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from petapter_schemas.errors import ManifestError
from petapter_schemas.manifest import (
    MANIFEST_FILE,
    MAX_FEATURES,
    Manifest,
    manifest_bytes,
    manifest_digest,
    parse_manifest,
    read_manifest,
)
from petapter_schemas.strict_json import MAX_JSON_BYTES
from tests.schemas.tiny_module import build_tiny_module, tiny_manifest

_FILE = {"path": "x.txt", "size": 1, "sha256": "0" * 64}


@pytest.fixture
def document(tmp_path: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((build_tiny_module(tmp_path / "m") / MANIFEST_FILE).read_text())
    return value


def _parse(document: object) -> Manifest:
    return parse_manifest(json.dumps(document).encode())


def _set(*path: str | int, to: object) -> Callable[[dict[str, Any]], None]:
    def change(document: Any) -> None:
        for key in path[:-1]:
            document = document[key]
        document[path[-1]] = to

    return change


def _add(*path: str | int, item: object) -> Callable[[dict[str, Any]], None]:
    def change(document: Any) -> None:
        for key in path:
            document = document[key]
        document.append(item)

    return change


def _head(**changed: object) -> Callable[[dict[str, Any]], None]:
    return lambda document: document["head"].update(changed)


_CONTRADICTIONS: dict[str, Callable[[dict[str, Any]], None]] = {
    "unknown field": _set("colour", to="red"),
    "unknown field inside": _set("head", "colour", to="red"),
    "no schema version": lambda document: document.pop("schema_version"),
    "schema version is a text": _set("schema_version", to="1"),
    "schema version is true": _set("schema_version", to=True),
    "schema version is 1.0": _set("schema_version", to=1.0),
    "schema version 0": _set("schema_version", to=0),
    "name climbs": _set("name", to="../x"),
    "name is a device": _set("name", to="nul"),
    "version is no SemVer": _set("version", to="1.0"),
    "version with a v": _set("version", to="v1.0.0"),
    "version with a leading zero": _set("version", to="01.0.0"),
    "version with a line break": _set("version", to="1.0.0\n"),
    "description hides": _set("description", to="a\u202eb"),
    "licence is a sentence": _set("license", to="do what you want"),
    "language is a name": _set("languages", to=["English"]),
    "labels in short form": _set("task", "labels", to={"a": "word0", "b": "word1"}),
    "words in short form": _set("task", "labels", 0, "words", to="word0"),
    "word with spaces around": _set("task", "labels", 0, "words", to=[" word0"]),
    "patterns in short form": _set("task", "patterns", to=["{text} It is {mask}."]),
    "label renamed to another": _set("task", "labels", 0, "name", to="b"),
    "label added": _add("task", "labels", item={"name": "c", "words": ["word2"]}),
    "word without ids": _add("task", "labels", 0, "words", item="more"),
    "ids without a word": _add("backbone", "verbalizer_ids", 0, item=[5]),
    "word of no tokens": _set("backbone", "verbalizer_ids", 0, to=[[]]),
    "word of more tokens than masks": _set("backbone", "verbalizer_ids", 0, to=[[5, 6]]),
    "token beyond the vocabulary": _set("backbone", "verbalizer_ids", 0, to=[[12]]),
    "negative token": _set("backbone", "verbalizer_ids", 0, to=[[-1]]),
    "token is true": _set("backbone", "verbalizer_ids", 0, to=[[True]]),
    "words of two labels read alike": _set("backbone", "verbalizer_ids", to=[[[10]], [[10]]]),
    "mask beyond the vocabulary": _set("backbone", "mask_id", to=12),
    "mask is a word": _set("backbone", "mask_id", to=10),
    "digest in capitals": _set("backbone", "weights_sha256", to="A" * 64),
    "digest too short": _set("backbone", "weights_sha256", to="0" * 63),
    "no layers": _set("backbone", "layers", to=0),
    "adapter of no kind": _set("adapter", "kind", to="prefix"),
    "lora without rank": _set("adapter", "rank", to=None),
    "lora without alpha": _set("adapter", "alpha", to=None),
    "lora of rank 0": _set("adapter", "rank", to=0),
    "ia3 with a rank": lambda document: document["adapter"].update(kind="ia3", alpha=None),
    "ia3 without targets": _set("adapter", to={"kind": "ia3", "parameters": 8}),
    "ia3 that scales the input of no target": _set(
        "adapter", to={"kind": "ia3", "targets": ["key"], "feedforward": ["dense"], "parameters": 8}
    ),
    "lora with a feed-forward target": _set("adapter", "feedforward", to=["query"]),
    "lora with a reduction": _set("adapter", "reduction", to=16),
    "lora with a placement": _set("adapter", "placement", to="pfeiffer"),
    "bottleneck without a placement": _set(
        "adapter", to={"kind": "bottleneck", "reduction": 2, "targets": ["output"], "parameters": 8}
    ),
    "bottleneck of an unknown placement": _set(
        "adapter",
        to={"kind": "bottleneck", "reduction": 2, "placement": "parallel", "targets": ["output"], "parameters": 8},
    ),
    "bottleneck without neurons": _set(
        "adapter",
        to={"kind": "bottleneck", "reduction": 9, "placement": "pfeiffer", "targets": ["output"], "parameters": 8},
    ),
    "bottleneck of a rank": _set(
        "adapter",
        to={
            "kind": "bottleneck",
            "reduction": 2,
            "placement": "pfeiffer",
            "targets": ["a"],
            "rank": 2,
            "parameters": 8,
        },
    ),
    "target that is a pattern": _set("adapter", "targets", to=["(a+)+"]),
    "more targets than any backbone has": _set("adapter", "targets", to=[f"t{i}" for i in range(65)]),
    "no layers adapted": _set("adapter", "layers", to=[]),
    "no adapter but parameters": lambda document: document["adapter"].update(kind="none", rank=None, alpha=None),
    "adapter without parameters": _set("adapter", "parameters", to=0),
    "adapter in a layer that is not there": _set("adapter", "layers", to=[1]),
    "layer twice": _set("adapter", "layers", to=[0, 0]),
    "target twice": _set("adapter", "targets", to=["query", "query"]),
    "adapter in int4": _set("adapter", "dtype", to="int4"),
    "head part of no kind": _set("head", "parts", to=["rows", "columns"]),
    "head part twice": _set("head", "parts", to=["rows", "rows"]),
    "pool layer twice": _head(reads="both", pool_layers=[1, 1], parts=["labels"]),
    "pools without layers": _head(reads="mean-pool", words=0.0, parts=["labels"]),
    "both without layers": _head(reads="both", parts=["labels"]),
    "layers without pools": _head(pool_layers=[1], parts=["labels"]),
    "pools without a label map": _head(reads="both", pool_layers=[1]),
    "pool of a layer that is not there": _head(reads="both", pool_layers=[2], parts=["labels"]),
    "pool of a negative layer": _head(reads="both", pool_layers=[-1], parts=["labels"]),
    "head trains a norm it lacks": _head(init="random", norm="none", parts=["rows", "bias", "dense", "norm"]),
    "masked-LM head without its norm": _head(norm="none"),
    "head without parts but parameters": _head(parts=[]),
    "head with parts of no parameters": _head(parameters=0),
    "words of no weight without a label map": _head(words=0.0),
    "words of negative weight": _head(words=-1.0),
    "rows of words without weight": _head(words=0.0, parts=["rows", "labels"]),
    "dense layer of pools alone": _head(
        reads="mean-pool", pool_layers=[1], words=0.0, init="random", norm="none", parts=["dense", "labels"]
    ),
    "random head without its dense layer": _head(init="random", norm="none"),
    "random head without its norm": _head(init="random", parts=["rows", "bias", "dense"]),
    "random head without its bias": _head(init="random", norm="none", parts=["rows", "dense"]),
    "random label map of the mask without its dense layer": _head(
        init="random", words=0.0, norm="none", parts=["labels"]
    ),
    "features of no width": _head(feature_size=0),
    "features wider than any": _head(feature_size=MAX_FEATURES + 1),
    "eps of 0": _head(norm_eps=0),
    "class bias for other labels": _set("calibration", to={"class_bias": [0.0]}),
    "thresholds of a single-label task": _set("calibration", to={"thresholds": [0.5, 0.5]}),
    "threshold above 1": _set("calibration", to={"thresholds": [1.5, 0.5]}),
    "temperature 0": _set("calibration", to={"temperature": 0}),
    "error rate without a threshold": _set("calibration", to={"abstain_error_rate": 0.1}),
    "examples for other labels": _set("training", "examples_per_class", to=[4]),
    "negative steps": _set("training", "steps", to=-1),
    "steps beyond a double": _set("training", "steps", to=1 << 53),
    "hardware on two lines": _set("training", "hardware", to="a\nb"),
    "metric without a name": _set("evaluation", 0, "metric", to=""),
    "metric without a set": lambda document: document["evaluation"][0].pop("evaluation_set"),
    "metric without an interval": lambda document: document["evaluation"][0].pop("interval"),
    "interval upside down": _set("evaluation", 0, "interval", to={"low": 0.9, "high": 0.1}),
    "metric that is no number": _set("evaluation", 0, "value", to="0.9"),
    "metric on no rows": _set("evaluation", 0, "evaluation_set", "n", to=0),
    "file twice": lambda document: document["files"].append(document["files"][0]),
    "file twice but for case": _add("files", item={**_FILE, "path": "readme.MD"}),
    "manifest lists itself": _add("files", item={**_FILE, "path": "petapter.json"}),
    "manifest lists itself but for case": _add("files", item={**_FILE, "path": "Petapter.JSON"}),
    "file climbs": _add("files", item={**_FILE, "path": "../x.txt"}),
    "file is a folder": lambda document: document["files"].extend(
        [{**_FILE, "path": p} for p in ("a.md/b.txt", "a.md")]
    ),
    "manifest is a folder": _add("files", item={**_FILE, "path": "petapter.json/x.txt"}),
    "negative size": _add("files", item={**_FILE, "size": -1}),
    "size is a text": _add("files", item={**_FILE, "size": "1"}),
    "more than 512 MiB": _add("files", item={**_FILE, "size": 512 << 20}),
    "more than 64 files": lambda document: document["files"].extend({**_FILE, "path": f"{i}.txt"} for i in range(60)),
    "parent that is no digest": _set("lineage", to={"parent": "main"}),
}


@pytest.mark.parametrize("change", _CONTRADICTIONS.values(), ids=_CONTRADICTIONS)
def test_contradiction_is_refused(change: Callable[[dict[str, Any]], object], document: dict[str, Any]) -> None:
    _parse(document)
    change(document)
    with pytest.raises(ManifestError) as refusal:
        _parse(document)
    assert str(refusal.value).isprintable()
    assert len(str(refusal.value)) < 600


@pytest.mark.parametrize(
    "head",
    [
        {"parts": [], "parameters": 0},
        {"parts": ["rows"]},
        {"parts": ["bias"]},
        {"parts": ["labels"], "words": 0.0},
        {"parts": ["labels"], "reads": "both", "pool_layers": [1, 0], "words": 0.5, "feature_size": 4},
        {"parts": ["dense", "norm", "labels"], "words": 0.0, "init": "random"},
        {"parts": ["labels"], "reads": "mean-pool", "pool_layers": [0], "words": 0.0, "init": "random"},
        {"parts": ["labels"], "reads": "mean-pool", "pool_layers": [1], "words": 1.0},
        {"parts": ["rows", "bias", "dense"], "init": "random", "norm": "none", "activation": "linear"},
        {"feature_size": 20},
    ],
    ids=str,
)
def test_heads_of_every_kind_are_read(head: dict[str, Any], document: dict[str, Any]) -> None:
    document["head"].update(head)
    written = _parse(document).head.model_dump(mode="json")
    assert {name: written[name] for name in head} == head


def test_head_of_an_older_manifest_reads_the_mask_by_its_words(document: dict[str, Any]) -> None:
    document["head"] = {"parts": ["rows", "bias"], "activation": "gelu", "parameters": 18}
    head = _parse(document).head
    assert (head.words, head.reads, head.pool_layers, head.feature_size) == (1.0, "mask", (), None)


def test_newer_format_is_named() -> None:
    with pytest.raises(ManifestError, match="format version 2; this petapter reads 1: upgrade"):
        _parse({"schema_version": 2, "anything": "else"})


@pytest.mark.parametrize("data", [b"", b"[]", b"null", b"{}", b'"petapter"', b"1", b"\x80\x04"])
def test_other_documents_are_no_manifest(data: bytes) -> None:
    with pytest.raises(ManifestError):
        parse_manifest(data)


def test_message_names_the_place_and_hides_control_characters(document: dict[str, Any]) -> None:
    document["head"]["\x1b[31m"] = 1
    with pytest.raises(ManifestError, match=r"head\.") as refusal:
        _parse(document)
    assert "\x1b" not in str(refusal.value)


def test_unwritten_defaults_are_read(document: dict[str, Any]) -> None:
    for key in ("license", "calibration", "lineage", "description"):
        del document[key]
    assert _parse(document).license is None


def test_manifest_survives_writing_and_reading() -> None:
    manifest = tiny_manifest(labels=("été", "冬", "<b>"))
    data = manifest_bytes(manifest)
    assert parse_manifest(data) == manifest
    assert manifest_bytes(parse_manifest(data)) == data


@given(value=st.floats(allow_nan=False, allow_infinity=False), seed=st.integers())
def test_numbers_survive_writing_and_reading(value: float, seed: int) -> None:
    draft = tiny_manifest()
    evaluation = (draft.evaluation[0].model_copy(update={"value": value, "seeds": (seed,)}),)
    manifest = draft.model_copy(update={"evaluation": evaluation})
    assert parse_manifest(manifest_bytes(manifest)) == manifest


def test_manifest_too_large_to_be_read_is_not_written() -> None:
    manifest = tiny_manifest(labels=[f"label {i}" for i in range(2000)])
    with pytest.raises(ManifestError, match=f"more than the {MAX_JSON_BYTES}"):
        manifest_bytes(manifest)


def test_digest_of_the_bytes_names_the_version() -> None:
    assert manifest_digest(b"{}\n") == "ca3d163bab055381827226140568f3bef7eaac187cebd76878e0b63e9e442356"  # sha256sum


def test_row_token_ids_ascend() -> None:
    manifest = tiny_manifest(labels=("a", "b", "c"))
    backbone = manifest.backbone.model_copy(update={"verbalizer_ids": (((12,),), ((7,), (12,)), ((3,),))})
    assert manifest.model_copy(update={"backbone": backbone}).row_token_ids == (3, 7, 12)


def test_directory_without_manifest_is_no_module(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no module directory"):
        read_manifest(tmp_path)


def test_huge_manifest_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / MANIFEST_FILE).open("wb") as stream:
        stream.truncate(10 << 30)
    with pytest.raises(ManifestError, match="allowed"):
        read_manifest(tmp_path)
