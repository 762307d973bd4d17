"""Files sent apart from a commit, by LFS: announced, received under signed addresses, hashed again, and kept.

They are received here, or, where the operator wants that, in the staging of the object store, from where they are read.
Bytes of one repository are not given to another because somebody knows their digest: each has to be sent them.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from petapter_registry_server.clock import now_ms
from petapter_registry_server.db import uploads
from petapter_registry_server.db.engine import Database
from petapter_registry_server.db.uploads import UploadPart
from petapter_registry_server.errors import InvalidRequestError, NotOfferedError, TooLargeError
from petapter_registry_server.services.access import Access, Caller
from petapter_registry_server.services.holding import hold_bytes
from petapter_registry_server.services.limits import Limits
from petapter_registry_server.services.signed_addresses import Grant
from petapter_registry_server.services.staged_files import Sender, StagedFiles
from petapter_registry_server.services.staged_names import StagedName
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

    def __init__(
        self,
        database: Database,
        access: Access,
        blobs: BlobStore,
        limits: Limits,
        staged: StagedFiles | None = None,
    ) -> None:
        """Take uploads; with `staged`, clients send what comes by LFS to the object store themselves."""
        self._database = database
        self._access = access
        self._blobs = blobs
        self.limits = limits
        self._staged = staged

    def scratch(self) -> AbstractContextManager[Path]:
        """A directory for one file on its way."""
        return self._blobs.scratch()

    def flush(self, file: Path) -> None:
        """Let what has arrived of a file be written to disk while more arrives."""
        self._blobs.flush(file)

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

    def begin_direct(self, caller: Caller, repository_id: int, file: Wanted) -> StagedName | None:
        """The name that a caller may send a file to the object store under; None where bytes come to the registry."""
        if self._staged is None:
            return None
        return self._staged.begin(Sender(repository_id, caller.user_id, file.sha256), file.size)

    def direct_address(self, name: StagedName) -> str:
        """Where the bytes of such a name are to be sent.

        Raises:
            NotOfferedError: Bytes come to the registry.
            StoreError: The object store cannot sign.
        """
        return self._required_staged().address(name)

    def _required_staged(self) -> StagedFiles:
        if self._staged is None:
            raise NotOfferedError("this registry takes uploads itself: begin the upload again")
        return self._staged

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
        if grant.staged:
            self._complete_direct(grant)
            return
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

    def _complete_direct(self, grant: Grant) -> None:
        """A client that never saw the answer asks again, when the parts are gone and the file is here."""
        with self._database.read() as session:
            if uploads.has_content(session, grant.repository_id, grant.sha256) == grant.size:
                return
        staged, whole = self._required_staged(), StagedName.read(grant.staged)
        parts = [whole.of_part(number) for number in range(1, parts_in(grant.size) + 1)] if whole else []
        if (missing := staged.missing(parts)) is not None:
            raise InvalidRequestError(f"part {missing.part} is missing: send it again")
        try:
            self._keep_direct(staged, grant, parts)
        except FileNotFoundError as error:
            raise InvalidRequestError("parts are gone: begin the upload again") from error

    def _keep_direct(self, staged: StagedFiles, grant: Grant, names: Sequence[StagedName]) -> None:
        """Keep what was sent under some names if it is what was announced; what was looked at goes in either case.

        Raises:
            FileNotFoundError: Something is gone.
            InvalidRequestError: It is something else.
        """
        with self._blobs.scratch() as scratch:
            whole = scratch / "whole"
            try:
                self.keep(grant, whole, staged.fetch(names, whole, at_most=grant.size))
            except InvalidRequestError:
                staged.forget(names)
                raise
        staged.forget(names)

    def _fetch_direct(self, caller: Caller, repository_id: int, sha256: str, size: int | None) -> None:
        """Keep a file that the caller sent to the object store, if there is one. Raises: InvalidRequestError."""
        if self._staged is None:
            return
        name = self._staged.newest(Sender(repository_id, caller.user_id, sha256), size)
        if name is not None:
            with suppress(FileNotFoundError):  # another request of the same caller was faster
                self._keep_direct(self._staged, Grant("staged", repository_id, sha256, name.size), [name])

    def sizes_of(self, caller: Caller, repository_id: int, files: Mapping[str, int | None]) -> dict[str, int | None]:
        """The sizes of files by sha256, None of those that the repository has not.

        Args:
            caller: May write to the repository; what this caller sent to the object store is looked at now.
            repository_id: Its row.
            files: The sizes that the caller says they have, or None.

        Raises:
            InvalidRequestError: What the caller sent to the object store is something else.
        """
        found = self._sizes(repository_id, files)
        if self._staged is None or None not in found.values():
            return found
        for sha256, size in files.items():
            if found[sha256] is None:
                self._fetch_direct(caller, repository_id, sha256, size)
        return self._sizes(repository_id, files)

    def _sizes(self, repository_id: int, digests: Iterable[str]) -> dict[str, int | None]:
        with self._database.read() as session:
            return {sha256: uploads.has_content(session, repository_id, sha256) for sha256 in digests}

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
        """Refuse a file that the repository has not; what the caller sent to the object store is looked at now.

        Raises:
            InvalidRequestError: It has not, or what was sent is something else.
            TooLargeError: It is above the limit.
        """
        self.limits.check_file(file.sha256, file.size)
        with self._database.read() as session:
            repository_id = self._access.writable(session, caller, repo_id).id
        if self.sizes_of(caller, repository_id, {file.sha256: file.size})[file.sha256] != file.size:
            raise InvalidRequestError(f"{file.sha256} did not arrive with {file.size} bytes: send it again")

    def _refusal(self, file: Wanted) -> str | None:
        try:
            self.limits.check_file(file.sha256, file.size)
        except TooLargeError as error:
            return str(error)
        return None


def parts_in(size: int) -> int:
    """How many parts a file of so many bytes has."""
    return -(-size // PART_BYTES)


def expected_bytes(grant: Grant) -> int:
    """How many bytes are to arrive under an address."""
    return min(PART_BYTES, grant.size - (grant.part - 1) * PART_BYTES) if grant.part else grant.size
