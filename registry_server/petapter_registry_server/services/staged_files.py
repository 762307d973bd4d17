"""Files that clients send to the object store themselves: under which names, and how they are read back.

What was sent is copied to scratch in one stream and hashed on the way, and the registry goes on with that copy alone.
A copy inside the bucket that is tied to an ETag would not do: the ETag of an object is its MD5, and whoever sends can
make two files of one MD5, let the registry hash the first and put the second in its place before the copy.
"""

import hashlib
import hmac
import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from petapter_registry_server.clock import now_ms
from petapter_registry_server.db.engine import Database
from petapter_registry_server.db.own_values import own_value
from petapter_registry_server.errors import InvalidRequestError
from petapter_registry_server.services.signed_addresses import LIFETIME_S
from petapter_registry_server.services.staged_names import StagedName
from petapter_registry_server.storage.staging import Staging

_PURPOSE = "staging"


@dataclass(frozen=True)
class Sender:
    """Who sends which bytes for which repository: what one of the three sent is nothing to the others."""

    repository_id: int
    user_id: int | None
    sha256: str


class StagedFiles:
    """The staging of one registry, and its names."""

    def __init__(self, database: Database, staging: Staging, clock: Callable[[], int] = now_ms) -> None:
        with database.write() as session:
            self._key = bytes.fromhex(own_value(session, _PURPOSE))
        self._staging = staging
        self._clock = clock

    def begin(self, sender: Sender, size: int) -> StagedName:
        """A new name for a file, good for as long as all addresses of uploads."""
        return StagedName(self._folder(sender), size, self._clock() // 1000 + LIFETIME_S, secrets.token_hex(16))

    def address(self, name: StagedName) -> str:
        """Where the bytes of a name are to be sent by PUT. Raises: StoreError."""
        return self._staging.address(str(name), LIFETIME_S)

    def newest(self, sender: Sender, size: int | None) -> StagedName | None:
        """The last file that was sent whole, of this size unless that is None; None when there is none.

        Raises:
            StoreError: The store does not answer.
        """
        found = [name for name in self._in_folder(self._folder(sender)) if name.part == 0]
        fitting = [name for name in found if size is None or name.size == size]
        return max(fitting, key=lambda name: name.expires_s, default=None)

    def missing(self, parts: Sequence[StagedName]) -> StagedName | None:
        """The first of some parts of one file that has not arrived. Raises: StoreError."""
        there = set(self._in_folder(parts[0].folder)) if parts else set()
        return next((part for part in parts if part not in there), None)

    def fetch(self, names: Sequence[StagedName], target: Path, *, at_most: int) -> str:
        """Copy files one behind the other into a new one, and return the sha256 of what was written there.

        Raises:
            FileNotFoundError: One is gone.
            InvalidRequestError: Together they have more than `at_most` bytes.
            StoreError: The store does not answer.
        """
        digest = hashlib.sha256()
        left = at_most
        with target.open("wb") as stream:
            for name in names:
                content = self._staging.open(str(name))
                left -= content.size
                if left < 0:
                    raise InvalidRequestError(f"more bytes arrived than the {at_most} announced: send them again")
                for chunk in content.chunks:
                    digest.update(chunk)
                    stream.write(chunk)
        return digest.hexdigest()

    def forget(self, names: Iterable[StagedName]) -> None:
        """Delete what was sent under some names. Raises: StoreError."""
        for name in names:
            self._staging.delete(str(name))

    def _folder(self, sender: Sender) -> str:
        told = f"{sender.repository_id} {sender.user_id} {sender.sha256}"
        return hmac.new(self._key, told.encode("ascii"), hashlib.sha256).hexdigest()

    def _in_folder(self, folder: str) -> list[StagedName]:
        return [name for text in self._staging.names(folder) if (name := StagedName.read(text)) is not None]
