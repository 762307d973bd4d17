"""A namespace as its page shows it: whose it is, and what the caller is there."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from petapter_registry_server.clock import hub_date
from petapter_registry_server.db import accounts, evaluation_sets, memberships, search
from petapter_registry_server.db.engine import Database
from petapter_registry_server.db.memberships import RoleLine
from petapter_registry_server.db.tables import Namespace
from petapter_registry_server.errors import NamespaceNotFoundError
from petapter_registry_server.services.access import Access, Caller
from petapter_schemas.names import name_key


@dataclass(frozen=True)
class NamespaceView:
    """A namespace.

    Attributes:
        name: As it is written.
        is_user: Whether it is a user's own; else an organisation.
        since: When it was made.
        role: What the caller is there; None is a stranger.
        members: Of an organisation that the caller belongs to; nobody else sees them.
        organisations: The caller's own, on the page of the caller.
        has_sets: Whether it has an evaluation set that the caller may see.
    """

    name: str
    is_user: bool
    since: str
    role: str | None
    members: Sequence[RoleLine]
    organisations: Sequence[tuple[str, str]]
    has_sets: bool


class Namespaces:
    """The users and organisations of one registry, as others see them."""

    def __init__(self, database: Database, access: Access) -> None:
        self._database = database
        self._access = access

    def view(self, caller: Caller, name: str) -> NamespaceView:
        """A user or an organisation; strangers see one of whom they may see something.

        Raises:
            NamespaceNotFoundError: There is none for this caller.
        """
        with self._database.read() as session:
            namespace = find_visible(session, self._access, caller, name)
            user_id = caller.user_id
            role = _role(session, caller, namespace)
            belongs = role is not None or caller.is_admin
            shows_set = evaluation_sets.shows_any_set(session, self._access.viewer(caller), namespace.id)
            is_user = namespace.user_id is not None
            is_own = is_user and namespace.user_id == user_id
            return NamespaceView(
                name=namespace.name,
                is_user=is_user,
                since=hub_date(namespace.created_ms),
                role=role,
                members=memberships.list_members(session, namespace.id) if belongs and not is_user else (),
                organisations=memberships.list_organisations(session, user_id) if is_own else (),
                has_sets=shows_set,
            )


def find_visible(session: Session, access: Access, caller: Caller, name: str) -> Namespace:
    """A user's or an organisation's namespace, for those who belong to it or may see a repository or a set of it.

    Raises:
        NamespaceNotFoundError: There is none for this caller.
    """
    namespace = None if "\0" in name else accounts.find_namespace(session, name_key(name))
    if namespace is None or namespace.name.lower() != name.lower():
        raise NamespaceNotFoundError(name)
    belongs = caller.is_admin or _role(session, caller, namespace) is not None
    if belongs:
        return namespace
    viewer = access.viewer(caller)
    shows = search.shows_any(session, viewer, namespace.id)
    if not shows and not evaluation_sets.shows_any_set(session, viewer, namespace.id):
        raise NamespaceNotFoundError(name)
    return namespace


def _role(session: Session, caller: Caller, namespace: Namespace) -> str | None:
    return None if caller.user_id is None else memberships.role_in(session, namespace.id, caller.user_id)
