"""Lays out what a job is about, in a directory that the measuring process reads and nothing else."""

from dataclasses import dataclass
from pathlib import Path

from petapter_registry_server.db import commits
from petapter_registry_server.db.engine import Database
from petapter_registry_server.errors import DataDirectoryError
from petapter_registry_server.services.evaluation_queue import TakenJob
from petapter_registry_server.services.verified_copy import copy_verified
from petapter_registry_server.storage.blobs import BlobStore
from petapter_registry_server.tree import Tree
from petapter_registry_server.worker.backbones import LocalBackbones
from petapter_schemas.errors import BackboneError, DigestMismatchError
from petapter_schemas.manifest import MANIFEST_FILE, Manifest, manifest_digest, parse_manifest
from petapter_schemas.measurement import MODULE_FOLDER, ROWS_FILE, TASK_FILE, MeasuringTask

_REMEDY = "'petapter-registry scrub' tells what is damaged and heals it"


@dataclass(frozen=True)
class Sources:
    """Where the parts of a job come from."""

    database: Database
    blobs: BlobStore
    backbones: LocalBackbones


def lay_out(job: TakenJob, sources: Sources, directory: Path) -> Manifest:
    """Write task, rows and the files of the module, every one hashed on the way, and return the manifest.

    Raises:
        DataDirectoryError: The stored bytes of a file are missing or damaged.
        DigestMismatchError: The commit holds another module than the job says.
        BackboneError: The backbone is none of this worker's.
        ModuleError: The manifest breaks the format.
    """
    with sources.database.read() as session:
        tree = commits.read_tree(session, job.commit_oid)
    module = directory / MODULE_FOLDER
    module.mkdir()
    manifest = _copy_manifest(job, tree, sources.blobs, module)
    backbone = sources.backbones.find(manifest.backbone)
    if backbone is None:
        needed = manifest.backbone
        raise BackboneError(
            f"this worker has no backbone {needed.repo} with weights {needed.weights_sha256[:12]}…: put its directory "
            "below worker_backbones, and ask again"
        )
    for file in manifest.files:
        target = module / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        copy_verified(sources.blobs, file.sha256, target, remedy=_REMEDY)
    copy_verified(sources.blobs, job.rows_blob, directory / ROWS_FILE, remedy=_REMEDY)
    task = MeasuringTask(module_sha256=job.manifest_sha256, backbone=str(backbone), evaluation_set=job.rows)
    (directory / TASK_FILE).write_text(task.model_dump_json(), encoding="utf-8")
    return manifest


def _copy_manifest(job: TakenJob, tree: Tree, blobs: BlobStore, module: Path) -> Manifest:
    stored = tree.get(MANIFEST_FILE)
    if stored is None:
        raise DataDirectoryError(f"commit {job.commit_oid[:12]} has no {MANIFEST_FILE}: reindex the registry")
    target = module / MANIFEST_FILE
    copy_verified(blobs, stored.sha256, target, remedy=_REMEDY)
    data = target.read_bytes()
    if manifest_digest(data) != job.manifest_sha256:
        raise DigestMismatchError(f"commit {job.commit_oid[:12]} holds another module than was asked about")
    return parse_manifest(data)
