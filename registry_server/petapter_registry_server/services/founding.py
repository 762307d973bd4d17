"""The namespace that something new goes into: one in which the caller may write, or one that is founded with it."""

from sqlalchemy.orm import Session

from petapter_registry_server.clock import now_ms
from petapter_registry_server.db import accounts, audit
from petapter_registry_server.db.tables import Namespace
from petapter_registry_server.errors import InvalidRequestError, PermissionDeniedError
from petapter_registry_server.services.access import Caller, require_namespace
from petapter_schemas.names import name_key


def namespace_for(session: Session, caller: Caller, wanted: str) -> Namespace:
    """The namespace of something new.

    Args:
        session: Of a write.
        caller: Who makes it.
        wanted: `namespace/name` of a repository, or `namespace/*` of what needs a token for the whole namespace.

    Raises:
        InvalidRequestError: The namespace looks like another one.
        PermissionDeniedError: The caller may not write there, or found one.
    """
    return find_writable(session, caller, wanted) or _found(session, caller, wanted.partition("/")[0])


def find_writable(session: Session, caller: Caller, wanted: str) -> Namespace | None:
    """As `namespace_for`, where nothing is founded; None where there would be. Raises: as there."""
    name = wanted.partition("/")[0]
    namespace = accounts.find_namespace(session, name_key(name))
    if namespace is None:
        _check_may_found(caller, name)
        return None
    if namespace.name.lower() != name.lower():
        raise InvalidRequestError(f"namespace {name!r} looks like {namespace.name!r}: choose another name")
    require_namespace(session, caller, namespace, wanted)
    return namespace


def _found(session: Session, caller: Caller, name: str) -> Namespace:
    owner_id = _check_may_found(caller, name)
    namespace = Namespace(name=name, key=name_key(name), user_id=None, created_ms=now_ms())
    accounts.add_namespace(session, namespace, owner_id=owner_id)
    audit.record(session, actor=caller.name, action="namespace.create", subject=name)
    return namespace


def _check_may_found(caller: Caller, name: str) -> int:
    """The id of its owner."""
    if caller.user_id is None:  # the console; anonymous callers were asked for a token before
        raise InvalidRequestError(f"namespace {name!r} needs an owner")
    if not caller.is_unlimited:
        raise PermissionDeniedError(f"there is no namespace {name!r}, and this token may not found one")
    return caller.user_id
