import hashlib
import json
import struct
from pathlib import Path

import pytest

from petapter_schemas.errors import BackboneError
from petapter_schemas.fingerprints import config_sha256, rows_sha256, tokenizer_sha256, weights_sha256
from tests.schemas.tiny_module import tensor_file, with_header


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _write(path: Path, value: object) -> Path:
    path.write_text(json.dumps(value, indent=3), encoding="utf-8")
    return path


def test_config_digest_ignores_where_and_how_it_was_loaded(tmp_path: Path) -> None:
    noise = {"_name_or_path": "/x", "transformers_version": "5.0", "torch_dtype": "float32", "dtype": "float32"}
    digest = config_sha256(_write(tmp_path / "config.json", {"b": 1, "a": {"dtype": 2}, **noise}))
    assert digest == _sha256('{"a":{"dtype":2},"b":1}')


def test_config_that_redirects_to_other_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match="transformers_weights"):
        config_sha256(_write(tmp_path / "config.json", {"transformers_weights": "evil.safetensors"}))


def test_tokenizer_digest_ignores_truncation_and_padding(tmp_path: Path) -> None:
    document = {"truncation": {"max_length": 128}, "padding": None, "model": {"vocab": {"é": 1, "a": 0}}}
    digest = tokenizer_sha256(_write(tmp_path / "tokenizer.json", document))
    assert digest == _sha256('{"model":{"vocab":{"a":0,"é":1}}}')


def test_large_tokenizer_is_read(tmp_path: Path) -> None:
    vocab = {f"token{i}": i for i in range(150_000)}  # about 3 MB, far beyond the limit of a module's JSON
    assert tokenizer_sha256(_write(tmp_path / "tokenizer.json", {"model": {"vocab": vocab}}))


@pytest.mark.parametrize("text", ["", "[]", '{"a":1,"a":2}', "{", '{"a":NaN}'])
def test_broken_json_is_a_backbone_error(text: str, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(text)
    for digest in (config_sha256, tokenizer_sha256):
        with pytest.raises(BackboneError):
            digest(path)


def test_missing_file_is_a_backbone_error(tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match="cannot be read"):
        config_sha256(tmp_path / "config.json")
    with pytest.raises(BackboneError, match="neither"):
        weights_sha256(tmp_path)


def _one_tensor(name: str, *values: float) -> bytes:
    data = struct.pack(f"<{len(values)}f", *values)
    header = {name: {"dtype": "F32", "shape": [len(values)], "data_offsets": [0, len(data)]}}
    return with_header(json.dumps(header).encode(), data)


def test_weights_digest_is_the_documented_one(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(_one_tensor("w", 1.0, 2.0))
    expected = hashlib.sha256(b'["w","F32",[2]]' + struct.pack("<2f", 1.0, 2.0)).hexdigest()
    assert weights_sha256(tmp_path) == expected


def test_weights_digest_does_not_know_order_in_the_file_or_shards(tmp_path: Path) -> None:
    values = {"a": (1.0,), "b": (2.0, 3.0)}
    data = {name: struct.pack(f"<{len(v)}f", *v) for name, v in values.items()}
    whole = tmp_path / "whole"
    whole.mkdir()
    header = {
        "b": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
        "a": {"dtype": "F32", "shape": [1], "data_offsets": [8, 12]},
        "__metadata__": {"format": "pt"},
    }
    (whole / "model.safetensors").write_bytes(with_header(json.dumps(header).encode(), data["b"] + data["a"]))
    sharded = tmp_path / "sharded"
    sharded.mkdir()
    (sharded / "model-1.safetensors").write_bytes(_one_tensor("a", *values["a"]))
    (sharded / "model-2.safetensors").write_bytes(_one_tensor("b", *values["b"]))
    weight_map = {"a": "model-1.safetensors", "b": "model-2.safetensors"}
    _write(sharded / "model.safetensors.index.json", {"metadata": {}, "weight_map": weight_map})
    assert weights_sha256(whole) == weights_sha256(sharded)


def test_a_changed_bit_changes_the_weights_digest(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(tensor_file({"w": (600, 1000)}))  # more than two pieces of 1 MiB
    before = weights_sha256(tmp_path)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert weights_sha256(tmp_path) != before


def test_whole_file_wins_over_an_index_as_in_transformers(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(_one_tensor("w", 1.0))
    before = weights_sha256(tmp_path)
    _write(tmp_path / "model.safetensors.index.json", {"weight_map": {"w": "absent.safetensors"}})
    assert weights_sha256(tmp_path) == before


@pytest.mark.parametrize(
    "shard", ["../model.safetensors", "/etc/x.safetensors", "a/b.safetensors", "x.bin", "", 1, None]
)
def test_index_names_only_weight_files_beside_it(shard: object, tmp_path: Path) -> None:
    _write(tmp_path / "model.safetensors.index.json", {"weight_map": {"w": shard}})
    with pytest.raises(BackboneError, match="shard"):
        weights_sha256(tmp_path)


def test_tensor_in_two_shards_is_refused(tmp_path: Path) -> None:
    for shard in ("1.safetensors", "2.safetensors"):
        (tmp_path / shard).write_bytes(_one_tensor("w", 1.0))
    _write(tmp_path / "model.safetensors.index.json", {"weight_map": {"w": "1.safetensors", "v": "2.safetensors"}})
    with pytest.raises(BackboneError, match="both hold w"):
        weights_sha256(tmp_path)


def test_broken_weights_are_a_backbone_error(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"\x80\x04pickle")
    with pytest.raises(BackboneError, match=r"model\.safetensors"):
        weights_sha256(tmp_path)


def test_rows_digest_does_not_know_their_order() -> None:
    rows = [{"text": "b", "label": "x"}, {"text": "a", "label": "y"}]
    expected = _sha256('[{"label":"x","text":"b"},{"label":"y","text":"a"}]')
    assert rows_sha256(rows) == rows_sha256(reversed(rows)) == expected


def test_rows_digest_knows_how_often_a_row_occurs() -> None:
    row = {"text": "a", "label": "x"}
    assert rows_sha256([row]) != rows_sha256([row, row])
