"""How much a namespace may hold: checked before bytes are kept, beside other publishers and not after them."""

from collections.abc import Mapping

from sqlalchemy.orm import Session

from petapter_registry_server.db import accounts, audit, quotas
from petapter_registry_server.db.engine import Database
from petapter_registry_server.db.quotas import Quota
from petapter_registry_server.db.tables import Namespace
from petapter_registry_server.errors import InvalidRequestError, QuotaExceededError
from petapter_registry_server.services.callers import CONSOLE
from petapter_schemas.names import name_key

_NO_NAMESPACE = 0


class Quotas:
    """The quotas of one registry; `default` is that of namespaces without one of their own."""

    def __init__(self, database: Database, default: Quota) -> None:
        self._database = database
        self._default = default

    def check_bytes(self, namespace_id: int | None, name: str, sizes: Mapping[str, int]) -> None:
        """Refuse files that would fill the namespace beyond its quota.

        Two commits at the same time may each find room for itself alone: they can pass the quota together, by no more
        than what they bring.

        Args:
            namespace_id: Whose; None of a namespace that is not there yet.
            name: What it is called.
            sizes: By sha256, of all files that are to be there.

        Raises:
            QuotaExceededError: They would.
        """
        namespace_id = namespace_id or _NO_NAMESPACE
        with self._database.read() as session:
            allowed = self._quota(session, namespace_id).max_bytes
            if allowed is None:
                return
            held = quotas.held_bytes(session, namespace_id, without=frozenset(sizes)) + sum(sizes.values())
            if held <= allowed or held <= quotas.held_bytes(session, namespace_id):
                return  # a commit that brings nothing new is taken even where the quota was lowered below what is held
        raise QuotaExceededError(
            f"{name!r} would hold {held} bytes and may hold {allowed}: delete a repository, or ask an admin of the "
            "registry for more"
        )

    def check_repositories(self, session: Session, namespace: Namespace) -> None:
        """Refuse one more repository or evaluation set beyond the namespace's quota.

        Raises:
            QuotaExceededError: It would be.
        """
        allowed = self._quota(session, namespace.id).max_repositories
        if allowed is not None and quotas.held_repositories(session, namespace.id) >= allowed:
            raise QuotaExceededError(
                f"{namespace.name!r} holds the {allowed} repositories that it may, evaluation sets included: "
                "delete one, or ask an admin of the registry for more"
            )

    def set_quota(self, name: str, quota: Quota) -> None:
        """Give a namespace a quota of its own, which may be without limit.

        Raises:
            InvalidRequestError: There is no such namespace.
        """
        with self._database.write() as session:
            namespace = accounts.find_namespace(session, name_key(name))
            if namespace is None or namespace.name.lower() != name.lower():
                raise InvalidRequestError(f"there is no namespace {name!r}")
            quotas.set_quota(session, namespace.id, quota)
            detail = f"bytes={quota.max_bytes} repositories={quota.max_repositories}"
            audit.record(session, actor=CONSOLE.name, action="quota.set", subject=namespace.name, detail=detail)

    def _quota(self, session: Session, namespace_id: int) -> Quota:
        return quotas.read_quota(session, namespace_id) or self._default
