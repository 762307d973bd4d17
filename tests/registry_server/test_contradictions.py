"""Every field of a manifest, changed: what the files contradict is refused, all else is the writer's word."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from petapter_registry_server.services.examination import examine
from petapter_registry_server.tree import TreeFile
from petapter_schemas.digests import git_blob_sha1, sha256_bytes
from petapter_schemas.errors import ModuleError
from tests.registry_server.module_bytes import ADAPTER_TENSORS, module_files, safetensors

OTHER_DIGEST = "1" * 64

REFUSED: dict[str, object] = {
    "schema_version": 2,
    "version": "one",
    "task.fields.#": "body",
    "task.patterns.#.template": "{body} It was {mask}.",
    "task.patterns.#.windows": {"stride": 0.5, "at_most": 16, "pool": "mean"},
    "task.class_prior": [0.5, 0.4],
    "backbone.mask_id": 10,
    "backbone.vocab_size": 11,
    "backbone.hidden_size": 8,
    "backbone.layers": 1,
    "backbone.verbalizer_ids.#.#.#": 4,
    "adapter.kind": "ia3",
    "adapter.rank": 3,
    "adapter.alpha": 8.0,
    "adapter.reduction": 2,
    "adapter.placement": "pfeiffer",
    "adapter.targets.#": "key",
    "adapter.feedforward": ["query"],
    "adapter.layers": [0],
    "adapter.parameters": 17,
    "adapter.dtype": "float16",
    "head.reads": "both",
    "head.pool_layers": [1],
    "head.words": 0.0,
    "head.init": "random",
    "head.parts.#": "dense",
    "head.norm": "none",
    "head.feature_size": 8,
    "head.parameters": 11,
    "head.dtype": "float16",
    "evaluation.#.interval.low": 2.0,
    "evaluation.#.interval.high": 0.1,
    "evaluation.#.evaluation_set.n": 0,
    "files.#.path": "other.json",
    "files.#.size": 1,
    "files.#.sha256": OTHER_DIGEST,
    "lineage.merge": {"method": "linear", "members": []},
}
"""Fields that files or other fields contradict when they are changed so."""

TRUSTED: dict[str, object] = {
    "name": "other",
    "description": "Something else",
    "license": "mit",
    "languages.#": "fr",
    "task.type": "multi-label",
    "task.labels.#.name": "other",
    "task.labels.#.words.#": "other",
    "task.labels.#.description": "other",
    "task.patterns.#.keep": "tail",
    "task.tokenization.words": "bare",
    "task.tokenization.long_words": "cut",
    "task.tokenization.texts": "apart",
    "backbone.repo": "tiny/other",
    "backbone.revision": "main",
    "backbone.architecture": "RobertaForMaskedLM",
    "backbone.config_sha256": OTHER_DIGEST,
    "backbone.weights_sha256": OTHER_DIGEST,
    "backbone.tokenizer_sha256": OTHER_DIGEST,
    "head.activation": "relu",
    "head.norm_eps": 1e-6,
    "calibration": {"temperature": 2.0},
    "training.preset": "other",
    "training.examples_per_class.#": 99,
    "training.rows_sha256": OTHER_DIGEST,
    "training.seeds.#": 9,
    "training.steps": 99,
    "training.seconds": 9.0,
    "training.peak_memory_bytes": 99,
    "training.hardware": "other",
    "training.libraries.torch": "9",
    "training.hyperparameters.lr": 0.9,
    "evaluation.#.metric": "macro_f1",
    "evaluation.#.value": 0.85,
    "evaluation.#.interval.level": 0.9,
    "evaluation.#.interval.method": "wilson",
    "evaluation.#.evaluation_set.name": "other",
    "evaluation.#.evaluation_set.sha256": OTHER_DIGEST,
    "evaluation.#.evaluation_set.split": "other",
    "evaluation.#.seeds.#": 9,
    "evaluation.#.status": "disputed",
    "evaluation.#.reliability": [{"confidence": 0.5, "accuracy": 0.5}],
    "lineage.parent": OTHER_DIGEST,
    "lineage.trained_from": ["team/base"],
}
"""Fields that only the backbone, the rows or their writer know: nothing in the module can contradict them."""


def leaves(value: object, path: str = "") -> Iterator[tuple[str, object]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    if not inner or not value:
        yield path, value
    for key, item in inner if value else ():
        yield from leaves(item, f"{path}.{key}" if path else str(key))


def files_with_two_layers() -> dict[str, bytes]:
    """The tiny module with its adapter in layer 1 of a backbone of two."""
    files = module_files()
    shapes = {name.replace("layer.0", "layer.1"): shape for name, shape in ADAPTER_TENSORS.items()}
    files["adapter_model.safetensors"] = data = safetensors(shapes)
    manifest = json.loads(files["petapter.json"])
    manifest["backbone"]["layers"] = 2
    entry = next(file for file in manifest["files"] if file["path"] == "adapter_model.safetensors")
    entry.update(size=len(data), sha256=sha256_bytes(data))
    return files | {"petapter.json": json.dumps(manifest).encode()}


FILES = files_with_two_layers()
MANIFEST: dict[str, Any] = json.loads(FILES["petapter.json"])
PATHS = [path for path, _ in leaves(MANIFEST)]


def form(path: str) -> str:
    return re.sub(r"(?<=\.)\d+(?=\.|$)", "#", path)


def changed(path: str, value: object) -> bytes:
    document: Any = json.loads(json.dumps(MANIFEST))
    *parents, last = path.split(".")
    place = document
    for key in parents:
        place = place[int(key)] if isinstance(place, list) else place[key]
    place[int(last) if isinstance(place, list) else last] = value
    return json.dumps(document).encode()


def check(folder: Path, manifest: bytes) -> None:
    files = FILES | {"petapter.json": manifest}
    tree = {path: TreeFile(path, len(data), sha256_bytes(data), git_blob_sha1(data)) for path, data in files.items()}
    for path, data in files.items():
        (folder / path).write_bytes(data)
    examine(tree, lambda file: folder / file.path)


def test_module_as_it_was_written_is_accepted(tmp_path: Path) -> None:
    check(tmp_path, FILES["petapter.json"])


def test_every_field_is_classified() -> None:
    assert {form(path) for path in PATHS} == REFUSED.keys() | TRUSTED.keys()


@pytest.mark.parametrize("path", [path for path in PATHS if form(path) in REFUSED])
def test_field_that_files_contradict_is_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(ModuleError):
        check(tmp_path, changed(path, REFUSED[form(path)]))


@pytest.mark.parametrize("path", [path for path in PATHS if form(path) in TRUSTED])
def test_field_that_nothing_contradicts_is_the_writers_word(tmp_path: Path, path: str) -> None:
    check(tmp_path, changed(path, TRUSTED[form(path)]))
