"""Whether this process can serve: its database answers and has the tables it needs, and its blobs can be written."""

from petapter_registry_server.db.engine import Database
from petapter_registry_server.errors import PassingError
from petapter_registry_server.storage.blobs import BlobStore


class Readiness:
    """Looks at what one process depends on."""

    def __init__(self, database: Database, blobs: BlobStore) -> None:
        self._database = database
        self._blobs = blobs

    def problems(self) -> list[str]:
        """What is in the way, in words without names and addresses; nothing when requests can be served.

        Tables of a newer version are none: during an upgrade the processes of the version before go on.
        """
        return [*self._of_the_writes(), *self._of_the_database(), *self._of_the_blobs()]

    def _of_the_writes(self) -> list[str]:
        stopped = self._database.writes.are_stopped
        return ["a sync to disk failed: check the disk and restart this server"] if stopped else []

    def _of_the_database(self) -> list[str]:
        try:
            return ["the tables are of an older version"] if self._database.standing() == "behind" else []
        except PassingError:
            return ["the database does not answer"]

    def _of_the_blobs(self) -> list[str]:
        try:
            with self._blobs.scratch() as directory:
                (directory / "probe").write_bytes(b"x")
        except OSError:
            return ["files cannot be written"]
        return []
