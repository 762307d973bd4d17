"""What a push sends: the module's own bytes, or a copy of it under another version or with the golden outputs it lacks.

The user's directory is never written.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from petapter_hub_client.cache import copy_module
from petapter_schemas.ensemble import MEMBERS_FOLDER, is_ensemble
from petapter_schemas.errors import InputError, ManifestError
from petapter_schemas.golden import GOLDEN_FILE
from petapter_schemas.manifest import MANIFEST_FILE, FileSpec, Manifest, parse_manifest, read_manifest
from petapter_schemas.module_files import verify_directory
from petapter_schemas.restamp import DRAWN_FILES, restamp_version
from petapter_schemas.strict_json import canonical_sha256


@dataclass(frozen=True)
class StagedModule:
    """A module directory, whole and checked.

    Attributes:
        directory: Its files; the user's own, or a copy.
        manifest: Its manifest.
        data: The bytes of petapter.json.
        golden_made: Whether its golden outputs were computed here, because there were none.
    """

    directory: Path
    manifest: Manifest
    data: bytes
    golden_made: bool = False

    @property
    def files(self) -> tuple[FileSpec, ...]:
        """All files; petapter.json, which lists the others, has no digest here."""
        return (FileSpec(path=MANIFEST_FILE, size=len(self.data), sha256="0" * 64), *self.manifest.files)


def read_module(directory: Path, scratch: Path) -> StagedModule:
    """Check a module completely; one that lacks nothing but golden outputs gets them in a copy.

    Args:
        directory: The user's.
        scratch: Where a copy may be made.

    Raises:
        InputError: It is an ensemble.
        ModuleError: It is no valid module, or its golden outputs are missing and cannot be computed here.
    """
    if is_ensemble(directory):
        raise InputError(
            f"{directory} is an ensemble, and remotes hold single modules: push those in its folder {MEMBERS_FOLDER}/"
        )
    if (directory / GOLDEN_FILE).exists():
        return _staged(directory, verify_directory(directory))
    return _with_golden(directory, scratch / "with-golden")


def with_version(module: StagedModule, version: str, reference: str, scratch: Path) -> StagedModule:
    """A copy of a module under another version, its card and plots made anew; of the same module the same bytes.

    Raises:
        ModuleError: `version` is no SemVer.
    """
    copy = scratch / version
    copy_module(module.manifest, module.directory, copy)
    manifest = restamp_version(copy, version=version, reference=reference)
    return StagedModule(copy, manifest, (copy / MANIFEST_FILE).read_bytes(), module.golden_made)


def same_content(first: bytes, second: bytes) -> bool:
    """Whether two petapter.json are of one module: apart from the version, and from the card and plots drawn of it.

    Raises:
        ManifestError: One of them breaks the format.
    """
    return first == second or _content(first) == _content(second)


def files_by_path(data: bytes | None) -> Mapping[str, str]:
    """The digests of the files that a petapter.json lists, by path; none where it cannot be read."""
    try:
        return {} if data is None else {file.path: file.sha256 for file in parse_manifest(data).files}
    except ManifestError:
        return {}


def _staged(directory: Path, manifest: Manifest, *, golden_made: bool = False) -> StagedModule:
    return StagedModule(directory, manifest, (directory / MANIFEST_FILE).read_bytes(), golden_made)


def _with_golden(directory: Path, copy: Path) -> StagedModule:
    from petapter_hub_client.golden_runs import complete_golden  # noqa: PLC0415 (needs torch)

    manifest = read_manifest(directory)
    present = tuple(file for file in manifest.files if file.path != GOLDEN_FILE)
    copy_module(manifest.model_copy(update={"files": present}), directory, copy)
    return _staged(copy, complete_golden(copy), golden_made=True)


def _content(data: bytes) -> str:
    document = parse_manifest(data).model_dump(mode="json", exclude={"version"})
    document["files"] = sorted(
        [file["path"], file["sha256"]] for file in document["files"] if file["path"] not in DRAWN_FILES
    )
    return canonical_sha256(document)
