"""A gateway for clients that send large files by Xet: blocks are kept, whole files rebuilt from them and hashed.

Downloads never speak of Xet. Blocks are kept because clients remember for weeks what they sent and later send only
which blocks make a file.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from itertools import islice
from pathlib import Path

from sqlalchemy.orm import Session

from petapter_registry_server.clock import now_ms
from petapter_registry_server.db import gates, uploads
from petapter_registry_server.db.engine import Database
from petapter_registry_server.db.uploads import Xorb
from petapter_registry_server.errors import BlobUnavailableError, InvalidRequestError
from petapter_registry_server.services.access import Access, Caller
from petapter_registry_server.services.holding import hold_bytes
from petapter_registry_server.services.limits import Limits
from petapter_registry_server.services.signed_addresses import Grant
from petapter_registry_server.services.uploads import Uploads
from petapter_registry_server.services.xet_formats import Segment, ShardFile, chunks, read_shard
from petapter_registry_server.services.xet_hashes import xorb_hash
from petapter_registry_server.storage.blobs import BlobStore
from petapter_schemas.digests import sha256_file


class Xet:
    """Takes files by Xet for one registry."""

    def __init__(self, database: Database, access: Access, blobs: BlobStore, limits: Limits, kept: Uploads) -> None:
        self._database = database
        self._access = access
        self._blobs = blobs
        self._limits = limits
        self._uploads = kept

    def scratch(self) -> AbstractContextManager[Path]:
        """A directory for one block on its way."""
        return self._blobs.scratch()

    def repository_of(self, caller: Caller, repo_id: str) -> int:
        """The row of a repository that the caller may write to. Raises: as `Access.writable`."""
        with self._database.read() as session:
            return self._access.writable(session, caller, repo_id).id

    def keep_xorb(self, grant: Grant, hash_: str, file: Path) -> bool:
        """Keep a block under its name, which its chunks make; whether it is new.

        Others build on the blocks of a repository that all may read, so none is kept under a name that is not its own.

        Raises:
            InvalidRequestError: It is none, or one of another name.
        """
        _check_name(hash_, file)
        digest = sha256_file(file)
        self._blobs.promote({digest: file})
        xorb = Xorb(repository_id=grant.repository_id, hash=hash_, sha256=digest, created_ms=now_ms())
        with self._database.write() as session:
            hold_bytes(session, self._blobs, {digest: file})
            return uploads.record_xorb(session, xorb)

    def keep_shard(self, grant: Grant, data: bytes) -> None:
        """Rebuild the files that a shard describes, check them against their sha256, and keep them.

        Raises:
            InvalidRequestError: It breaks the format, names blocks that are not here, or these make another file.
            TooLargeError: A file is above the limit.
        """
        for file in read_shard(data):
            self._limits.check_file(file.sha256, file.size)
            with self._blobs.scratch() as scratch:
                self._keep_file(grant, file, scratch)

    def _keep_file(self, grant: Grant, file: ShardFile, scratch: Path) -> None:
        whole = scratch / "whole"
        with whole.open("wb") as stream:
            for segment in file.segments:
                stream.writelines(self._segment_chunks(grant, segment, scratch))
        self._uploads.keep(replace(grant, sha256=file.sha256, size=file.size), whole, sha256_file(whole))

    def _segment_chunks(self, grant: Grant, segment: Segment, scratch: Path) -> Iterator[bytes]:
        with self._database.read() as session:
            digest = _blob_of(session, grant, segment.xorb)
        count = size = 0
        with self._block(digest, segment.xorb, scratch).open("rb") as stream:
            for chunk in islice(chunks(stream), segment.first, segment.last):
                count, size = count + 1, size + len(chunk)
                yield chunk
        if (count, size) != (segment.last - segment.first, segment.size):
            raise InvalidRequestError(f"block {segment.xorb} has not the chunks that the shard names")

    def _block(self, digest: str, hash_: str, scratch: Path) -> Path:
        try:
            return self._blobs.local_file(digest, scratch)
        except FileNotFoundError as error:
            raise BlobUnavailableError(f"block {hash_}") from error


def _check_name(hash_: str, file: Path) -> None:
    with file.open("rb") as stream:
        try:
            found = xorb_hash(chunks(stream))
        except ValueError as error:
            raise InvalidRequestError("the xorb has no chunks") from error
    if found != hash_:
        raise InvalidRequestError(f"the xorb came as {hash_}, its chunks make {found}: send it again")


def _blob_of(session: Session, grant: Grant, hash_: str) -> str:
    """A block of this repository, or of one whose files are everybody's: to know a name is no right to the bytes."""
    known = uploads.find_xorbs(session, hash_)
    gated = gates.read_modes(session, [repository.id for _, repository in known])
    own = [xorb for xorb, repository in known if repository.id == grant.repository_id]
    open_ = [xorb for xorb, repository in known if not repository.private and repository.id not in gated]
    if not own and not open_:
        raise InvalidRequestError(
            f"block {hash_} was not sent for this repository: delete the folder of HF_XET_CACHE, or set "
            "HF_HUB_DISABLE_XET=1, and upload again"
        )
    return [*own, *open_][0].sha256
