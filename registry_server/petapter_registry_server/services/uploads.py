"""Files sent apart from a commit, by LFS: announced, received under signed addresses, hashed again, and kept.

Bytes of one repository are not given to another because somebody knows their digest: each has to be sent them.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from petapter_registry_server.clock import now_ms
from petapter_registry_server.db import uploads
from petapter_registry_server.db.engine import Database
from petapter_registry_server.db.uploads import UploadPart
from petapter_registry_server.errors import InvalidRequestError, TooLargeError
from petapter_registry_server.services.access import Access, Caller
from petapter_registry_server.services.holding import hold_bytes
from petapter_registry_server.services.limits import Limits
from petapter_registry_server.services.signed_addresses import Grant
from petapter_registry_server.storage.blobs import BlobStore
from petapter_schemas.digests import sha256_file

PART_BYTES = 4 << 20
"""Files longer than one part may be sent in parts; what an interrupted upload loses is less than one."""


@dataclass(frozen=True)
class Wanted:
    """A file that a client means to send."""

    sha256: str
    size: int


@dataclass(frozen=True)
class Announced:
    """What becomes of a file that a client means to send.

    Attributes:
        file: Which.
        is_here: Whether the repository has its bytes already.
        refusal: Why it cannot be taken; None if it can.
        parts: Of a file that is not here the sha256 of each part that is, by number.
    """

    file: Wanted
    is_here: bool
    refusal: str | None
    parts: Mapping[int, str] = field(default_factory=dict)


class Uploads:
    """Takes large files for one registry."""

    def __init__(self, database: Database, access: Access, blobs: BlobStore, limits: Limits) -> None:
        self._database = database
        self._access = access
        self._blobs = blobs
        self._limits = limits

    def scratch(self) -> AbstractContextManager[Path]:
        """A directory for one file on its way."""
        return self._blobs.scratch()

    def announce(self, caller: Caller, repo_id: str, files: Sequence[Wanted]) -> tuple[int, list[Announced]]:
        """The row of a repository, and what becomes of each file.

        Raises:
            RepositoryNotFoundError: There is none for this caller.
            PermissionDeniedError: The caller may not write there.
        """
        with self._database.read() as session:
            repository_id = self._access.writable(session, caller, repo_id).id
            here = [uploads.has_content(session, repository_id, file.sha256) == file.size for file in files]
            parts = [
                {}
                if found or file.size <= PART_BYTES
                else {part.number: part.sha256 for part in uploads.read_parts(session, repository_id, file.sha256)}
                for file, found in zip(files, here, strict=True)
            ]
        return repository_id, [
            Announced(file, found, self._refusal(file), there)
            for file, found, there in zip(files, here, parts, strict=True)
        ]

    def keep_part(self, grant: Grant, file: Path, digest: str) -> None:
        """Keep a part, whose sha256 was computed as it arrived, until all are there.

        Raises:
            InvalidRequestError: It is not as long as it must be.
        """
        size = file.stat().st_size
        if size != expected_bytes(grant):
            raise InvalidRequestError(f"part {grant.part} must have {expected_bytes(grant)} bytes: send it again")
        self._blobs.promote({digest: file})
        part = UploadPart(
            repository_id=grant.repository_id,
            whole=grant.sha256,
            number=grant.part,
            sha256=digest,
            created_ms=now_ms(),
        )
        with self._database.write() as session:
            hold_bytes(session, self._blobs, {digest: file})
            uploads.record_part(session, part)

    def complete(self, grant: Grant) -> None:
        """Put the parts together and keep the file.

        Raises:
            InvalidRequestError: A part is missing, or together they are not the file that was announced.
        """
        with self._database.read() as session:
            parts = uploads.read_parts(session, grant.repository_id, grant.sha256)
        there = {part.number for part in parts}
        if missing := [number for number in range(1, parts_in(grant.size) + 1) if number not in there]:
            raise InvalidRequestError(f"part {missing[0]} is missing: send it again")
        with self._blobs.scratch() as scratch:
            whole = scratch / "whole"
            with whole.open("wb") as stream:
                for part in parts:
                    stream.writelines(self._blobs.open(part.sha256).chunks)
            self.keep(grant, whole, sha256_file(whole))

    def keep(self, grant: Grant, file: Path, digest: str) -> None:
        """Keep a file whose bytes have arrived, if these and their sha256 are the ones announced.

        Raises:
            InvalidRequestError: They are others.
        """
        size = file.stat().st_size
        if (digest, size) != (grant.sha256, grant.size):
            raise InvalidRequestError(
                f"{size} bytes with sha256 {digest} arrived, announced were {grant.size} with {grant.sha256}: "
                "send them again"
            )
        self._blobs.promote({digest: file})
        with self._database.write() as session:
            hold_bytes(session, self._blobs, {digest: file})
            uploads.record_upload(session, grant.repository_id, digest, size)
            uploads.forget_parts(session, grant.repository_id, digest)

    def check_arrived(self, caller: Caller, repo_id: str, file: Wanted) -> None:
        """Refuse a file that the repository has not.

        Raises:
            InvalidRequestError: It has not.
        """
        if not self.announce(caller, repo_id, [file])[1][0].is_here:
            raise InvalidRequestError(f"{file.sha256} did not arrive with {file.size} bytes: send it again")

    def _refusal(self, file: Wanted) -> str | None:
        try:
            self._limits.check_file(file.sha256, file.size)
        except TooLargeError as error:
            return str(error)
        return None


def parts_in(size: int) -> int:
    """How many parts a file of so many bytes has."""
    return -(-size // PART_BYTES)


def expected_bytes(grant: Grant) -> int:
    """How many bytes are to arrive under an address."""
    return min(PART_BYTES, grant.size - (grant.part - 1) * PART_BYTES) if grant.part else grant.size
