"""What a backbone and a set of rows are, as digests that survive resharding, reformatting and a change of library.

The definitions are normative in schemas/README.md; nothing here needs torch.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from petapter_schemas import strict_json
from petapter_schemas.digests import Sha256
from petapter_schemas.errors import BackboneError, ModuleError
from petapter_schemas.tensor_header import BACKBONE_LIMITS, TensorInfo, read_tensor_header

WEIGHTS_FILE = "model.safetensors"
WEIGHTS_INDEX_FILE = "model.safetensors.index.json"

_IGNORED_CONFIG = frozenset({"_name_or_path", "transformers_version", "torch_dtype", "dtype"})
"""Where the configuration was loaded from and how: not what the model is."""

_IGNORED_TOKENIZER = frozenset({"truncation", "padding"})
"""How the last caller cut and filled batches: petapter does both itself."""

_OTHER_WEIGHTS = "transformers_weights"
"""With this field transformers loads another file than model.safetensors; the digest would name the wrong weights."""

_MAX_CONFIG_BYTES = 4 << 20  # some list 100,000 classes
_MAX_LARGE_JSON_BYTES = 256 << 20  # tokenizer.json of large multilingual vocabularies has 10 to 40 MB
_CHUNK_BYTES = 1 << 20


def config_sha256(path: Path) -> str:
    """Digest of a backbone's config.json.

    Raises:
        BackboneError: The file cannot be read, is no strict JSON object, or redirects to other weights.
    """
    document = _read_object(path, _MAX_CONFIG_BYTES)
    if document.get(_OTHER_WEIGHTS) is not None:
        raise BackboneError(f"{path} sets {_OTHER_WEIGHTS}: rename that file to {WEIGHTS_FILE} and drop the field")
    return strict_json.canonical_sha256({key: document[key] for key in document.keys() - _IGNORED_CONFIG})


def tokenizer_sha256(path: Path) -> str:
    """Digest of a backbone's tokenizer.json.

    Raises:
        BackboneError: The file cannot be read or is no strict JSON object.
    """
    document = _read_object(path, _MAX_LARGE_JSON_BYTES)
    return strict_json.canonical_sha256({key: document[key] for key in document.keys() - _IGNORED_TOKENIZER})


def weights_sha256(directory: Path) -> str:
    """Digest of all tensors of a backbone in ascending order of name, read in 1 MiB pieces.

    Reads the files that transformers would load: model.safetensors, else the shards of its index.

    Raises:
        BackboneError: There are no weights, a file breaks the safetensors rules, or two shards hold one tensor.
    """
    places: dict[str, _Place] = {}
    for file in _weight_files(directory):
        try:
            header = read_tensor_header(file, limits=BACKBONE_LIMITS)
        except ModuleError as error:
            raise BackboneError(f"{directory}: {error}") from error
        for name, info in header.tensors.items():
            if name in places:
                raise BackboneError(f"{directory}: {places[name].file.name} and {file.name} both hold {name}")
            places[name] = _Place(file, header.data_begin, info)
    digest = hashlib.sha256()
    for name, place in sorted(places.items()):
        digest.update(strict_json.canonical([name, place.info.dtype, list(place.info.shape)]))
        _update_with_values(digest, place)
    return digest.hexdigest()


def backbone_digests(directory: Path) -> tuple[Sha256, Sha256, Sha256]:
    """Of the configuration, the weights and the tokenizer of a backbone's directory.

    Raises:
        BackboneError: A file is missing or damaged.
    """
    return (
        config_sha256(directory / "config.json"),
        weights_sha256(directory),
        tokenizer_sha256(directory / "tokenizer.json"),
    )


def rows_sha256(rows: Iterable[Mapping[str, str]], weights: Sequence[float] = ()) -> str:
    """Digest of labelled rows, whatever their order; each holds its text fields and "label".

    Weights, one per row, count only if any of them is not 1.
    """
    named: list[object] = [dict(row) for row in rows]
    if any(weight != 1 for weight in weights):
        named = [[row, float(weight)] for row, weight in zip(named, weights, strict=True)]
    return strict_json.canonical_sha256(sorted(named, key=strict_json.canonical))


@dataclass(frozen=True)
class _Place:
    """Where a tensor's values are."""

    file: Path
    data_begin: int
    info: TensorInfo


class _Digest(Protocol):
    """A running hash."""

    def update(self, data: bytes, /) -> None: ...


def _update_with_values(digest: _Digest, place: _Place) -> None:
    left = place.info.end - place.info.begin
    with place.file.open("rb") as stream:
        stream.seek(place.data_begin + place.info.begin)
        while left:
            chunk = stream.read(min(left, _CHUNK_BYTES))
            if not chunk:
                raise BackboneError(f"{place.file} became shorter while it was read")
            digest.update(chunk)
            left -= len(chunk)


def _weight_files(directory: Path) -> list[Path]:
    single, index = directory / WEIGHTS_FILE, directory / WEIGHTS_INDEX_FILE
    if single.is_file():
        return [single]
    if not index.is_file():
        raise BackboneError(f"{directory} has neither {WEIGHTS_FILE} nor {WEIGHTS_INDEX_FILE}")
    shards = _read_object(index, _MAX_LARGE_JSON_BYTES).get("weight_map")
    if not isinstance(shards, dict) or not shards:
        raise BackboneError(f"{index} has no weight_map")
    names = {name if isinstance(name, str) else "" for name in shards.values()}
    if unsafe := sorted(name for name in names if not _is_shard_name(name)):
        raise BackboneError(f"{index} names the shard {unsafe[0][:80]!r}: only *.safetensors files beside it are read")
    return [directory / name for name in sorted(names)]


def _is_shard_name(name: str) -> bool:
    return name.endswith(".safetensors") and Path(name).name == name and "\\" not in name and name.isprintable()


def _read_object(path: Path, max_bytes: int) -> dict[str, object]:
    try:
        if path.stat().st_size > max_bytes:
            raise BackboneError(f"{path} has more than the {max_bytes} bytes allowed")
        document = strict_json.loads(path.read_bytes(), source=str(path), max_bytes=max_bytes)
    except OSError as error:
        raise BackboneError(f"{path} cannot be read: {error.strerror}") from error
    except ModuleError as error:
        raise BackboneError(str(error)) from error
    if not isinstance(document, dict):
        raise BackboneError(f"{path} must hold a JSON object")
    return document
