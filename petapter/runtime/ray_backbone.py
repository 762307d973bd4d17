# ruff: noqa: PLC0415 (Ray is an extra and is imported when a run over a cluster starts, not before)
"""How the workers of a Ray cluster come by the backbone of the machine that asks: at the same path, or sent by Ray."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Any

from petapter.backbone import Backbone, Precision
from petapter.process import settle
from petapter.runtime.ray_cluster import Cluster
from petapter_schemas.digests import Sha256
from petapter_schemas.errors import BackboneError, InputError
from petapter_schemas.fingerprints import backbone_digests

_BACKBONE_SUFFIXES = frozenset({".json", ".safetensors", ".txt", ".model"})


@dataclass(frozen=True)
class BackbonePayload:
    """A backbone as the workers find it.

    Attributes:
        directory: Where it lies on the machine that asks; a worker that sees the same bytes there takes them.
        repo: The name to record.
        revision: The commit to record.
        digests: Of configuration, weights and tokenizer.
        files: By name, Ray's references to the bytes, for workers that do not see them; empty if all do.
        precision: To load it in.
    """

    directory: Path
    repo: str
    revision: str | None
    digests: tuple[Sha256, Sha256, Sha256]
    files: Mapping[str, Any]
    precision: Precision = "float32"


def pack_backbone(
    source: tuple[Path, str, str | None], cluster: Cluster, *, precision: Precision = "float32"
) -> BackbonePayload:
    """A backbone to be sent to workers; this process is connected to their cluster.

    Args:
        source: Its directory, and name and commit to record.
        cluster: Where they are; if that is this machine alone, the files stay where they are.
        precision: To load it in.
    """
    directory, repo, revision = source[0].absolute(), source[1], source[2]
    files = {} if cluster.is_alone else _backbone_files(directory)  # else a worker may come up where they are not
    return BackbonePayload(directory, repo, revision, backbone_digests(directory), files, precision=precision)


def receive_backbone(payload: BackbonePayload, scratch: Path) -> Backbone:
    """The backbone in a worker.

    Args:
        payload: What was sent.
        scratch: A directory for its files where they are not on this machine.

    Raises:
        BackboneError: It is not what it was when the run began.
    """
    directory, digests = payload.directory, payload.digests
    if not _is_here(payload):
        if not payload.files:
            raise BackboneError(f"{directory} is not what it was when the run began: run the same again")
        import ray

        for name, reference in payload.files.items():  # one at a time in memory
            write_below(scratch, name, ray.get(reference))
        directory, digests = scratch, backbone_digests(scratch)
    settle()
    return Backbone.load(
        directory, repo=payload.repo, revision=payload.revision, precision=payload.precision, digests=digests
    )


def check_version(asking: str) -> None:
    """Refuse to work for another petapter than this one, which might answer otherwise.

    Raises:
        InputError: It is another one.
    """
    if asking != version("petapter"):
        raise InputError(
            f"a worker has petapter {version('petapter')}, this machine {asking}: install the same on both"
        )


def write_below(folder: Path, path: str, data: bytes) -> None:
    """Write a file that was sent, by its path below a folder, which is made."""
    target = folder / PurePosixPath(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)


def _is_here(payload: BackbonePayload) -> bool:
    try:
        return backbone_digests(payload.directory) == payload.digests
    except BackboneError:
        return False


def _backbone_files(directory: Path) -> dict[str, Any]:
    """Ray's references to the bytes of a backbone's files, by name; one at a time in memory."""
    import ray

    return {
        path.name: ray.put(path.read_bytes())
        for path in sorted(directory.iterdir())
        if path.is_file() and path.suffix in _BACKBONE_SUFFIXES
    }
