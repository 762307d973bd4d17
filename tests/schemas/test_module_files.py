import json
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from petapter_schemas.adapter_spec import AdapterSpec
from petapter_schemas.digests import sha256_bytes
from petapter_schemas.errors import DigestMismatchError, ManifestError, ModuleError, TensorFileError
from petapter_schemas.manifest import MANIFEST_FILE
from petapter_schemas.module_files import read_module_files, verify_directory, verify_module
from tests.schemas.hostile_headers import HOSTILE
from tests.schemas.tiny_module import TinyModule, adapter_config, tensor_file, tiny_manifest, write_module

_ASSETS = Path(__file__).parents[1] / "assets" / "modules"
_PNG = b"\x89PNG\r\n\x1a\n" + b"picture" + b"\x00\x00\x00\x00IEND\xaeB`\x82"
_QUERY = "base_model.model.bert.encoder.layer.0.attention.self.query"


@pytest.fixture
def module(tiny_module: TinyModule, tmp_path: Path) -> Path:
    return tiny_module(tmp_path / "module")


def _edit(directory: Path, change: Callable[[dict[str, Any]], object]) -> None:
    document = json.loads((directory / MANIFEST_FILE).read_text())
    change(document)
    (directory / MANIFEST_FILE).write_text(json.dumps(document))


def _put(directory: Path, path: str, data: bytes) -> None:
    """Write a file and list it honestly."""
    (directory / path).parent.mkdir(exist_ok=True)
    (directory / path).write_bytes(data)
    entry = {"path": path, "size": len(data), "sha256": sha256_bytes(data)}
    _edit(directory, lambda d: d.update(files=[f for f in d["files"] if f["path"] != path] + [entry]))


def _drop(directory: Path, path: str) -> None:
    _edit(directory, lambda d: d.update(files=[f for f in d["files"] if f["path"] != path]))


@pytest.mark.parametrize("directory", sorted(_ASSETS.iterdir()), ids=lambda path: path.name)
def test_module_of_every_format_version_opens_today(directory: Path) -> None:
    manifest = verify_directory(directory)
    assert directory.name.startswith(f"v{manifest.schema_version}-")


def test_valid_module_passes(module: Path) -> None:
    assert verify_directory(module).name == "tiny"


def test_module_without_adapter_passes(tmp_path: Path) -> None:
    draft = tiny_manifest().model_copy(update={"adapter": AdapterSpec(kind="none", parameters=0)})
    assert verify_directory(write_module(tmp_path / "m", draft)).adapter.kind == "none"


def test_further_files_of_allowed_kinds_pass(module: Path) -> None:
    for path, data in {
        "plots/confusion.png": _PNG,
        "plots/calibration.svg": b"<svg/>",
        "errors.csv": b"a,b\n1,2\n",
        "NOTES.txt": "naïve".encode(),
        "extra.json": b"{}",
    }.items():
        _put(module, path, data)
    assert len(verify_directory(module).files) == 10


def test_unlisted_files_are_left_alone(module: Path) -> None:
    (module / "model.pkl").write_bytes(b"\x80\x04")
    (module / "link").symlink_to("/etc/passwd")
    assert "model.pkl" not in read_module_files(module)
    verify_directory(module)


@pytest.mark.parametrize(
    "path", ["README.md", "golden.json", "head.safetensors", "adapter_model.safetensors", "adapter_config.json"]
)
def test_each_file_is_hashed(path: str, module: Path) -> None:
    data = bytearray((module / path).read_bytes())
    data[-2] ^= 1
    (module / path).write_bytes(data)
    with pytest.raises(DigestMismatchError, match=path.replace(".", r"\.")):
        verify_directory(module)


@pytest.mark.parametrize(
    "path", ["README.md", "golden.json", "head.safetensors", "adapter_model.safetensors", "adapter_config.json"]
)
def test_each_required_file_is_required(path: str, module: Path) -> None:
    _drop(module, path)
    with pytest.raises(ManifestError, match=f"must list {path}".replace(".", r"\.")):
        verify_directory(module)


def test_missing_file_is_named(module: Path) -> None:
    (module / "golden.json").unlink()
    with pytest.raises(ManifestError, match=r"golden\.json is listed in petapter\.json but missing"):
        verify_directory(module)


def test_missing_manifest_is_named(module: Path) -> None:
    (module / MANIFEST_FILE).unlink()
    with pytest.raises(ManifestError, match="no module directory"):
        verify_directory(module)
    with pytest.raises(ManifestError, match=r"no petapter\.json"):
        verify_module({})


@pytest.mark.parametrize("path", ["head.safetensors", "README.md", MANIFEST_FILE])
def test_link_is_refused(path: str, module: Path, tmp_path: Path) -> None:
    shutil.move(module / path, tmp_path / "elsewhere")
    (module / path).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ManifestError):
        verify_directory(module)


def test_linked_folder_is_refused(module: Path, tmp_path: Path) -> None:
    _put(module, "plots/a.txt", b"a")
    shutil.move(module / "plots", tmp_path / "elsewhere")
    (module / "plots").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ManifestError, match="goes through a link"):
        verify_directory(module)


def test_directory_and_pipe_are_no_files(module: Path) -> None:
    for make in (Path.mkdir, os.mkfifo):
        (module / "README.md").unlink(missing_ok=True)
        make(module / "README.md")
        with pytest.raises(ManifestError, match=r"README\.md"):
            verify_directory(module)
        if (module / "README.md").is_dir():
            (module / "README.md").rmdir()


def test_file_larger_than_any_module_is_not_hashed(module: Path) -> None:
    with (module / "README.md").open("wb") as stream:
        stream.truncate(100 << 30)  # sparse
    with pytest.raises(DigestMismatchError, match="more than a whole module"):
        verify_directory(module)


@pytest.mark.parametrize(
    ("path", "data"),
    [
        ("model.bin", b""),
        ("model.pkl", b""),
        ("model.pt", b""),
        ("code.py", b""),
        ("weights.npz", b""),
        ("archive.zip", b""),
        ("model.gguf", b""),
        ("page.html", b""),
        ("noextension", b""),
        ("README.md.exe", b""),
        ("extra.safetensors", tensor_file({"a": (1,)})),
        ("EXTRA.SafeTensors", tensor_file({"a": (1,)})),
        ("sub/head.safetensors", tensor_file({"a": (1,)})),
    ],
)
def test_other_kinds_of_files_are_refused(path: str, data: bytes, module: Path) -> None:
    _put(module, path, data)
    with pytest.raises(ManifestError, match=r"not allowed|no weight file"):
        verify_directory(module)


_PICKLE = b"\x80\x04\x95\x10\0\0\0\0\0\0\0\x8c\x05posix\x94"
_ZIP = b"PK\3\4\x14\0\0\0\0\0" + b"\0" * 20


@pytest.mark.parametrize(
    "disguise", [_PICKLE, _ZIP, b"GGUF\3\0\0\0", b"\x93NUMPY\1\0", b"\x7fELF\2\1\1\0", b"text" + _ZIP]
)
@pytest.mark.parametrize("path", ["a.json", "a.md", "a.txt", "a.csv", "a.svg", "a.png"])
def test_disguised_file_is_refused(path: str, disguise: bytes, module: Path) -> None:
    _put(module, path, disguise)
    with pytest.raises(ManifestError, match=path.replace(".", r"\.")):
        verify_directory(module)


def test_picture_with_an_archive_behind_it_is_refused(module: Path) -> None:
    _put(module, "a.png", _PNG + _ZIP)
    with pytest.raises(ManifestError, match="appended"):
        verify_directory(module)


def test_large_card_is_refused(module: Path) -> None:
    _put(module, "README.md", b"x" * (256 * 1024 + 1))
    with pytest.raises(ManifestError, match=r"README\.md has 262145 bytes"):
        verify_directory(module)


@pytest.mark.parametrize("file", ["head.safetensors", "adapter_model.safetensors"])
@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_hostile_weights_are_refused_in_a_module(file: str, data: bytes, module: Path) -> None:
    _put(module, file, data)
    with pytest.raises(TensorFileError, match=file.replace(".", r"\.")):
        verify_directory(module)


@pytest.mark.parametrize(
    ("shapes", "why"),
    [
        ({"rows.weight": (2, 8)}, "holds"),
        ({"rows.weight": (3, 8), "rows.bias": (3,)}, "holds"),
        ({"rows.weight": (2, 9), "rows.bias": (2,)}, "holds"),
        ({"rows.weight": (8, 2), "rows.bias": (2,)}, "holds"),
        ({"rows.weight": (2, 8), "rows.bias": (2,), "dense.bias": (8,)}, "holds"),
        ({"rows.weight": (2, 8), "bias": (2,)}, "holds"),
    ],
    ids=str,
)
def test_head_is_the_one_of_the_manifest(shapes: dict[str, tuple[int, ...]], why: str, module: Path) -> None:
    _put(module, "head.safetensors", tensor_file(shapes))
    with pytest.raises(TensorFileError, match=why):
        verify_directory(module)


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d["head"].update(parameters=19),
        lambda d: d["head"].update(dtype="float16"),
        lambda d: d["head"].update(parts=["rows"]),
        lambda d: d["head"].update(feature_size=7),
        lambda d: d["backbone"].update(hidden_size=9),
        lambda d: d["backbone"].update(verbalizer_ids=[[[10, 11]], [[11, 10]]])
        or d["task"]["patterns"][0].update(template="{text} {mask}{mask}")
        or d["task"]["labels"].append({"name": "c", "words": ["word2"]})
        or d["training"].update(examples_per_class=[4, 4, 4])
        or d["backbone"]["verbalizer_ids"].append([[5]]),
        lambda d: d["adapter"].update(parameters=33),
        lambda d: d["adapter"].update(dtype="bfloat16"),
        lambda d: d["adapter"].update(rank=3),
        lambda d: d["adapter"].update(targets=["value"]),
        lambda d: d["adapter"].update(targets=["uery"]),
        lambda d: d["backbone"].update(layers=2) or d["adapter"].update(layers=[1]),
    ],
    ids=["head count", "head dtype", "head parts", "feature size", "hidden size", "rows", "adapter count",
         "adapter dtype", "rank", "targets", "part of a target", "layers"],
)  # fmt: skip
def test_manifest_that_contradicts_the_weights_is_refused(
    change: Callable[[dict[str, Any]], object], module: Path
) -> None:
    _edit(module, change)
    with pytest.raises(TensorFileError):
        verify_directory(module)


@pytest.mark.parametrize(
    "shapes",
    [
        {f"{_QUERY}.lora_A.weight": (2, 16)},
        {f"{_QUERY}.lora_A.weight": (2, 8), f"{_QUERY}.lora_B.weight": (4, 4)},
        {f"{_QUERY}.lora_A.weight": (2, 8), f"{_QUERY}.lora_B.weight": (2, 8)},
        {f"{_QUERY}.lora_A.weight": (2, 8), f"{_QUERY}.lora_magnitude_vector": (16,)},
        {f"{_QUERY}.lora_A.weight": (2, 8), f"{_QUERY}.weight": (2, 8)},
        {"bert.query.lora_A.weight": (2, 8), "bert.query.lora_B.weight": (8, 2)},
        {f"{_QUERY}.lora_A.weight": (2, 8), f"{_QUERY}.lora_B.weight": (8, 2, 1)},
    ],
    ids=str,
)
def test_lora_tensors_are_the_ones_of_the_manifest(shapes: dict[str, tuple[int, ...]], module: Path) -> None:
    _put(module, "adapter_model.safetensors", tensor_file(shapes))
    with pytest.raises(TensorFileError):
        verify_directory(module)


@pytest.mark.parametrize(
    "change",
    [
        {"peft_type": "IA3"},
        {"peft_type": None},
        {"r": 4},
        {"r": None},
        {"lora_alpha": 8},
        {"target_modules": ["query", "value"]},
        {"target_modules": "all-linear"},
        {"target_modules": None},
        {"layers_to_transform": [0]},
        {"bias": "all"},
        {"use_dora": True},
        {"use_rslora": True},
        {"rank_pattern": {"query": 8}},
        {"alpha_pattern": {"query": 8}},
        {"layer_replication": [[0, 1]]},
        {"trainable_token_indices": [1]},
        {"auto_mapping": {"base_model_class": "X", "parent_library": "evil"}},
        {"auto_mapping": {}},
        {"modules_to_save": ["classifier"]},
        {"megatron_config": {"x": 1}},
    ],
    ids=str,
)
def test_adapter_config_is_the_one_of_the_manifest(change: dict[str, object], module: Path) -> None:
    _put(module, "adapter_config.json", json.dumps({**adapter_config(), **change}).encode())
    with pytest.raises(ManifestError, match=r"adapter_config\.json"):
        verify_directory(module)


def test_adapter_config_must_be_an_object(module: Path) -> None:
    _put(module, "adapter_config.json", b"[]")
    with pytest.raises(ManifestError, match="object"):
        verify_directory(module)


def test_no_adapter_means_no_adapter_files(module: Path) -> None:
    _edit(module, lambda d: d.update(adapter={"kind": "none", "parameters": 0}))
    with pytest.raises(ManifestError, match="must not come with"):
        verify_directory(module)


def _golden(module: Path, change: Callable[[dict[str, Any]], object]) -> None:
    document = json.loads((module / "golden.json").read_text())
    change(document)
    _put(module, "golden.json", json.dumps(document).encode())


@pytest.mark.parametrize(
    "change",
    [
        lambda d: [probe.update(log_probabilities=[-1.1, -1.1, -1.1]) for probe in d["probes"]],
        lambda d: d["probes"][3].update(fields={"title": "x"}),
        lambda d: d["probes"][3].update(fields={"text": "x", "title": "y"}),
        lambda d: d["probes"][3].update(fields={}),
        lambda d: d["probes"][3].update(log_probabilities=[-0.1, -0.1]),
        lambda d: d.update(probes=[]),
    ],
    ids=["labels", "other field", "more fields", "no fields", "probabilities", "no probes"],
)
def test_golden_is_the_one_of_the_manifest(change: Callable[[dict[str, Any]], object], module: Path) -> None:
    _golden(module, change)
    with pytest.raises(ManifestError, match=r"golden\.json"):
        verify_directory(module)


def test_manifest_is_checked_before_anything_it_names(module: Path) -> None:
    (module / "head.safetensors").write_bytes(struct.pack("<Q", 1 << 62))
    _edit(module, lambda d: d.update(schema_version=2))
    with pytest.raises(ManifestError, match="upgrade"):
        verify_directory(module)


def test_every_refusal_is_one_short_line(module: Path) -> None:
    for path in ("golden.json", "adapter_config.json"):
        for data in (b"", b"{", b"\xff", b"[" * 1000, b'{"a":1,"a":2}'):
            _put(module, path, data)
            with pytest.raises(ModuleError) as refusal:
                verify_directory(module)
            assert "\n" not in str(refusal.value)
            assert len(str(refusal.value)) < 300
