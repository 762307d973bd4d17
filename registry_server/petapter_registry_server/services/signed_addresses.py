"""Addresses that carry their own permission, for clients that send no token there: signed, bound, and soon expired."""

from dataclasses import asdict, dataclass

from itsdangerous import BadData, URLSafeTimedSerializer

from petapter_registry_server.db.engine import Database
from petapter_registry_server.db.own_values import own_value
from petapter_registry_server.errors import PermissionDeniedError

_PURPOSE = "uploads"
LIFETIME_S = 3600


@dataclass(frozen=True)
class Grant:
    """What an address allows: to send these bytes, a part or blocks of them, for one repository.

    What arrives under it is seen by nobody until somebody with a token commits it.

    Attributes:
        kind: "basic", "part", "complete" or "xet".
        repository_id: Row of the repository.
        sha256: Of the whole file; empty for blocks.
        size: Of the whole file.
        part: Which part, from 1; 0 for no part.
        staged: The name under which the parts were sent to the object store, if that is where they are.
    """

    kind: str
    repository_id: int
    sha256: str = ""
    size: int = 0
    part: int = 0
    staged: str = ""


class SignedAddresses:
    """Signs and reads grants with the registry's own key."""

    def __init__(self, database: Database) -> None:
        self._serializer = URLSafeTimedSerializer(_key(database), salt=_PURPOSE)

    def sign(self, grant: Grant) -> str:
        """A grant as a path segment, good for an hour."""
        signed = self._serializer.dumps(asdict(grant))
        return signed if isinstance(signed, str) else signed.decode()

    def read(self, signed: str, *kinds: str) -> Grant:
        """The grant that an address carries.

        Raises:
            PermissionDeniedError: It was not signed here, is of another kind, or is too old.
        """
        try:
            grant = Grant(**self._serializer.loads(signed, max_age=LIFETIME_S))
        except (BadData, TypeError) as error:
            raise PermissionDeniedError("this address is not valid or has expired: begin the upload again") from error
        if grant.kind not in kinds:
            raise PermissionDeniedError("this address is for something else: begin the upload again")
        return grant


def _key(database: Database) -> str:
    with database.write() as session:
        return own_value(session, _PURPOSE)
