"""The one policy: what a caller may do to something, and in which words the rest is refused."""

from dataclasses import dataclass

from petapter_registry_server.errors import LoginRequiredError, PermissionDeniedError, RegistryError
from petapter_registry_server.services.callers import Caller
from petapter_registry_server.services.roles import Role, greater, lesser, reaches

LOGIN_NEEDED = "a token is needed: log in with 'hf auth login' or 'petapter login'"


@dataclass(frozen=True)
class Standing:
    """What somebody's user is to a repository or a namespace, before the token is looked at.

    Attributes:
        name: `namespace/name` of a repository, `namespace/*` of a namespace.
        role: The role there; None for strangers.
        is_open: Whether this caller may read it without a role.
    """

    name: str
    role: Role | None
    is_open: bool = False

    @property
    def namespace(self) -> str:
        """The first part of the name."""
        return self.name.partition("/")[0]


def granted(caller: Caller, standing: Standing) -> Role | None:
    """The role that a caller acts with; None is for those to whom the thing does not exist.

    An admin's token acts as admin everywhere. Everybody else acts with the role of the user, where the token is for
    that place at all, and no further than the token's scope. The route's ceiling is above all of them.
    """
    if caller.is_admin:
        return caller.most
    own = standing.role if caller.covers(standing.name) else None
    return greater(lesser(own, caller.most) if own else None, "read" if standing.is_open else None)


def refusal(caller: Caller, standing: Standing, needed: Role) -> RegistryError:
    """Why a caller who sees the thing may not do to it what needs this role."""
    if caller.is_anonymous:
        return LoginRequiredError(LOGIN_NEEDED)
    if not reaches(caller.cap, needed):
        return PermissionDeniedError(_too_small(caller.cap, needed))
    if not caller.covers(standing.name):
        return PermissionDeniedError(f"this token is for {caller.pattern}: use one that is for {standing.name}")
    if standing.role is None:
        return PermissionDeniedError(
            f"{caller.name} does not belong to {standing.namespace!r}: ask a member or an admin"
        )
    return PermissionDeniedError(
        f"{caller.name} has the role {standing.role!r} in {standing.name}, and this needs {needed!r}: ask an admin of "
        f"{standing.namespace!r}"
    )


def require_token(caller: Caller, needed: Role) -> None:
    """Refuse callers whose token lets this role through nowhere.

    Raises:
        LoginRequiredError: The caller is anonymous.
        PermissionDeniedError: The token's scope is smaller.
    """
    if caller.is_anonymous:
        raise LoginRequiredError(LOGIN_NEEDED)
    if not reaches(caller.most, needed):
        raise PermissionDeniedError(_too_small(caller.most, needed))


def _too_small(cap: Role, needed: Role) -> str:
    return f"this token may only {cap}: ask for a token with the role {needed!r}"
