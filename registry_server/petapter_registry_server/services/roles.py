"""Roles from the least to the most, and what it means to have enough: the one place that knows their order."""

from typing import Literal

from petapter_registry_server.errors import InvalidRequestError

Role = Literal["read", "write", "maintain", "admin"]
"""Of a member in a namespace, of a user on one module, and the most that a fine-grained token lets through."""
ROLES: tuple[Role, ...] = ("read", "write", "maintain", "admin")

TokenRole = Literal["read", "write", "admin"]
"""Of a token: reads; does what its user may do; does everything everywhere."""
FINE_GRAINED = "fineGrained"
"""The role, in the Hub's word, of a token with a scope and a pattern of repositories."""


def reaches(role: Role | None, needed: Role) -> bool:
    """Whether a role is enough; None is no role at all."""
    return role is not None and ROLES.index(role) >= ROLES.index(needed)


def lesser(*roles: Role) -> Role:
    """The least of some roles."""
    return min(roles, key=ROLES.index)


def greater(*roles: Role | None) -> Role | None:
    """The most of some roles; None counts least."""
    return max((role for role in roles if role is not None), key=ROLES.index, default=None)


def read_role(text: str) -> Role:
    """A role as a client, the command line or the database writes it.

    Raises:
        InvalidRequestError: There is no such role.
    """
    if text not in ROLES:
        raise InvalidRequestError(f"{text!r} is no role: use {', '.join(ROLES)}")
    return text
