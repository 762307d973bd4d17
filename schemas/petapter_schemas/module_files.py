"""Which files make a module, and the checks that need no torch; run at save, push, by the server, at pull and open."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from petapter_schemas.adapter_files import (
    ADAPTER_CONFIG_FILE,
    ADAPTER_FILE,
    check_adapter_config,
    check_adapter_tensors,
)
from petapter_schemas.digests import sha256_file
from petapter_schemas.errors import DigestMismatchError, ManifestError, TensorFileError
from petapter_schemas.file_contents import ALLOWED_SUFFIXES, check_content, suffix
from petapter_schemas.golden import GOLDEN_FILE, Golden, parse_golden
from petapter_schemas.manifest import MANIFEST_FILE, MAX_MODULE_BYTES, Manifest, parse_manifest, read_manifest
from petapter_schemas.plot_data import PLOT_DATA_FILE, check_plot_data, parse_plot_data
from petapter_schemas.profile import PROFILE_FILE, Profile, parse_profile
from petapter_schemas.strict_json import MAX_JSON_BYTES
from petapter_schemas.tensor_header import TensorHeader, read_tensor_header

HEAD_FILE = "head.safetensors"
CARD_FILE = "README.md"

__all__ = [
    "ADAPTER_CONFIG_FILE",
    "ADAPTER_FILE",
    "ALLOWED_SUFFIXES",
    "CARD_FILE",
    "GOLDEN_FILE",
    "HEAD_FILE",
    "StoredFile",
    "head_shapes",
    "measure_file",
    "read_module_files",
    "verify_directory",
    "verify_module",
]

_TOTAL_TOLERANCE = 0.01  # probes are float32 and may be rounded; a wrong softmax is off by far more
_DTYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16", "int8": "I8"}


@dataclass(frozen=True)
class StoredFile:
    """A file of a module where it lies, with the size and digest measured (not claimed) for its bytes."""

    location: Path
    size: int
    sha256: str


def measure_file(location: Path) -> StoredFile:
    """Hash a file."""
    return StoredFile(location, location.stat().st_size, sha256_file(location))


def read_module_files(directory: Path) -> dict[str, StoredFile]:
    """Hash the manifest of a directory and every file it lists; other files are left alone.

    Raises:
        ManifestError: There is no manifest, it breaks the format, or a listed file is missing, no ordinary file, or
            reached through a link.
        DigestMismatchError: A file is larger than a module may be.
    """
    location = directory / MANIFEST_FILE
    if not location.is_file() or location.is_symlink():
        raise ManifestError(f"{directory} is no module directory: it has no readable {MANIFEST_FILE}")
    manifest = read_manifest(directory)
    files = {MANIFEST_FILE: measure_file(location)}
    for file in manifest.files:
        files[file.path] = _measure_inside(directory, file.path)
    return files


def _measure_inside(directory: Path, path: str) -> StoredFile:
    inside = directory
    for part in path.split("/"):
        inside /= part
        if inside.is_symlink():
            raise ManifestError(f"{directory}: {path} is or goes through a link: copy the file itself there")
    if not inside.is_file():
        raise ManifestError(f"{directory}: {path} is listed in {MANIFEST_FILE} but missing: pull it again")
    if (size := inside.stat().st_size) > MAX_MODULE_BYTES:
        raise DigestMismatchError(f"{directory}: {path} has {size} bytes, more than a whole module may have")
    try:
        return measure_file(inside)
    except OSError as error:
        raise ManifestError(f"{directory}: {path} cannot be read: {error.strerror}") from error


def verify_directory(directory: Path) -> Manifest:
    """Check a module directory completely, as `verify_module` does, and return its manifest.

    Raises:
        ModuleError: The first rule it breaks.
    """
    return verify_module(read_module_files(directory))


def verify_module(files: Mapping[str, StoredFile]) -> Manifest:
    """Check the files of one module against its manifest and the format, without reading tensor values.

    In order: manifest; digest and size of every listed file; required and allowed files; strict safetensors headers;
    head and adapter tensors against the manifest; adapter_config.json; golden.json; profile.json and plots.json if any.
    Files that the manifest does not list are ignored.

    Raises:
        ManifestError: A JSON file breaks the format or a file is missing or of a kind that is not allowed.
        DigestMismatchError: A file is not what the manifest promises.
        TensorFileError: A tensor file breaks the strict rules or contradicts the manifest.
    """
    if MANIFEST_FILE not in files:
        raise ManifestError(f"the module has no {MANIFEST_FILE}")
    manifest = parse_manifest(_read_small(files, MANIFEST_FILE))
    _check_digests(manifest, files)
    _check_file_set(manifest)
    for file in manifest.files:
        check_content(file.path, files[file.path].location, file.size)
    if manifest.head.parts:
        _check_head(manifest, read_tensor_header(files[HEAD_FILE].location, name=HEAD_FILE))
    if manifest.adapter.kind != "none":
        _check_adapter(manifest, read_tensor_header(files[ADAPTER_FILE].location, name=ADAPTER_FILE))
        check_adapter_config(manifest.adapter, _read_small(files, ADAPTER_CONFIG_FILE))
    _check_golden(manifest, parse_golden(_read_small(files, GOLDEN_FILE)))
    if any(file.path == PROFILE_FILE for file in manifest.files):
        _check_profile(manifest, parse_profile(_read_small(files, PROFILE_FILE)))
    if any(file.path == PLOT_DATA_FILE for file in manifest.files):
        check_plot_data(manifest, parse_plot_data(_read_small(files, PLOT_DATA_FILE)))
    return manifest


def _read_small(files: Mapping[str, StoredFile], path: str) -> bytes:
    if files[path].size > MAX_JSON_BYTES:
        raise ManifestError(f"{path} has {files[path].size} bytes, more than the {MAX_JSON_BYTES} allowed")
    return files[path].location.read_bytes()


def _check_digests(manifest: Manifest, files: Mapping[str, StoredFile]) -> None:
    for promised in manifest.files:
        found = files.get(promised.path)
        if found is None:
            raise ManifestError(f"{promised.path} is listed in {MANIFEST_FILE} but missing")
        if (found.size, found.sha256) != (promised.size, promised.sha256):
            raise DigestMismatchError(
                f"{promised.path} was changed: its sha256 is {found.sha256[:12]}…, the manifest says "
                f"{promised.sha256[:12]}…; do not use it, pull the module again"
            )


def _check_file_set(manifest: Manifest) -> None:
    listed = {file.path for file in manifest.files}
    required, adapter = {GOLDEN_FILE, CARD_FILE}, {ADAPTER_FILE, ADAPTER_CONFIG_FILE}
    required |= adapter if manifest.adapter.kind != "none" else set()
    required |= {HEAD_FILE} if manifest.head.parts else set()
    if missing := required - listed:
        raise ManifestError(f"{MANIFEST_FILE} must list {', '.join(sorted(missing))}")
    if not manifest.head.parts and HEAD_FILE in listed:
        raise ManifestError(f"a head without trained parts must not come with {HEAD_FILE}")
    if manifest.adapter.kind == "none" and listed & adapter:
        raise ManifestError(f"an adapter of kind 'none' must not come with {', '.join(sorted(listed & adapter))}")
    weights = {path for path in listed if suffix(path) == ".safetensors"} - {HEAD_FILE, ADAPTER_FILE}
    if weights:
        raise ManifestError(f"{min(weights)} is no weight file of a module")


def head_shapes(manifest: Manifest) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors head.safetensors must hold: those of the parts that the manifest names."""
    rows, hidden, head = len(manifest.row_token_ids), manifest.backbone.hidden_size, manifest.head
    width = head.feature_size or hidden
    read = (width if head.reads != "mean-pool" else 0) + hidden * len(head.pool_layers)
    labels, patterns = len(manifest.task.labels), len(manifest.task.patterns)
    shapes: dict[str, dict[str, tuple[int, ...]]] = {
        "rows": {"rows.weight": (rows, width)},
        "bias": {"rows.bias": (rows,)},
        "dense": {"dense.weight": (width, hidden), "dense.bias": (width,)},
        "norm": {"norm.weight": (width,), "norm.bias": (width,)},
        "labels": {"labels.weight": (labels, read), "labels.bias": (patterns, labels)},
    }
    return {name: shape for part in head.parts for name, shape in shapes[part].items()}


def _check_head(manifest: Manifest, header: TensorHeader) -> None:
    expected = head_shapes(manifest)
    found = {name: info.shape for name, info in header.tensors.items()}
    if found != expected:
        raise TensorFileError(f"{HEAD_FILE} holds {_shapes(found)}; the manifest asks for {_shapes(expected)}")
    _check_dtype(HEAD_FILE, header, manifest.head.dtype)
    _check_count(HEAD_FILE, header, manifest.head.parameters)


def _check_adapter(manifest: Manifest, header: TensorHeader) -> None:
    check_adapter_tensors(manifest.adapter, manifest.backbone, header)
    _check_dtype(ADAPTER_FILE, header, manifest.adapter.dtype)
    _check_count(ADAPTER_FILE, header, manifest.adapter.parameters)


def _check_dtype(file: str, header: TensorHeader, dtype: str) -> None:
    if any(info.dtype != _DTYPES[dtype] for info in header.tensors.values()):
        raise TensorFileError(f"{file} holds other dtypes than the {dtype} the manifest names")


def _check_count(file: str, header: TensorHeader, parameters: int) -> None:
    count = sum(math.prod(info.shape) for info in header.tensors.values())
    if count != parameters:
        raise TensorFileError(f"{file} holds {count} numbers; the manifest says {parameters}")


def _check_golden(manifest: Manifest, golden: Golden) -> None:
    for probe in golden.probes:
        if len(probe.log_probabilities) != len(manifest.task.labels):
            raise ManifestError(f"{GOLDEN_FILE} has another number of labels than {MANIFEST_FILE}")
        if set(probe.fields) != set(manifest.task.fields):
            raise ManifestError(f"{GOLDEN_FILE} has other text fields than {MANIFEST_FILE}")
        total = math.fsum(map(math.exp, probe.log_probabilities))
        if manifest.task.type == "single-label" and abs(total - 1) > _TOTAL_TOLERANCE:
            raise ManifestError(f"{GOLDEN_FILE}: the probabilities of a probe add up to {total:.4g}, not to 1")


def _check_profile(manifest: Manifest, profile: Profile) -> None:
    trained, labels = sum(manifest.training.examples_per_class), len(manifest.task.labels)
    if manifest.task.type == "single-label" and profile.texts != trained:
        raise ManifestError(f"{PROFILE_FILE} is of {profile.texts} texts, {MANIFEST_FILE} of {trained}")
    rates, answers = profile.rates, profile.answers
    if rates is not None:
        if manifest.task.type != "multi-label" or rates.texts > profile.texts:
            raise ManifestError(
                f"{PROFILE_FILE} has rates of more texts than there are, or of a task of one label each"
            )
        if any(rate.label >= labels for rate in rates.labels):
            raise ManifestError(f"{PROFILE_FILE} counts a label that {MANIFEST_FILE} does not have")
    if answers is None:
        return
    if manifest.task.type != "single-label" or answers.texts > profile.texts:
        raise ManifestError(f"{PROFILE_FILE} has answers to more texts than there are, or of a task of many labels")
    if max(label for group in answers.labels for label in group.labels) >= labels:
        raise ManifestError(f"{PROFILE_FILE} counts a label that {MANIFEST_FILE} does not have")


def _shapes(shapes: Mapping[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{name} {list(shape)}" for name, shape in sorted(shapes.items()))
