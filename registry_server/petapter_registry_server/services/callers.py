"""Who is behind a request, and the most that the request may do."""

from dataclasses import dataclass, field, replace

from petapter_registry_server.db.answers import State
from petapter_registry_server.services.patterns import covers
from petapter_registry_server.services.roles import Role, lesser


@dataclass(frozen=True)
class Caller:
    """The user behind a request, with what the token lets through; `user_id` None is anybody without a token.

    Attributes:
        role: The token's role: read, write, admin or fineGrained.
        scope: The most that the token lets through of what its user may do.
        pattern: The repositories that the token is for; None is all.
        ceiling: The most that the route asks for, whoever calls: a route that reads cannot write.
        state: What the database held when the request was let in (`Database.state`); what was read since it held that
            may be answered again. None reads anew.
    """

    user_id: int | None
    name: str
    role: str
    token_id: int | None = None
    token_created_ms: int = 0
    scope: Role = "admin"
    pattern: str | None = None
    token_name: str | None = None
    expires_ms: int | None = None
    ceiling: Role = "admin"
    state: State | None = field(default=None, compare=False)

    @property
    def is_anonymous(self) -> bool:
        """Whether the request came without a token."""
        return self.user_id is None and not self.is_admin

    @property
    def is_admin(self) -> bool:
        """Whether the token may do everything everywhere."""
        return self.role == "admin"

    @property
    def cap(self) -> Role:
        """The most that the token lets through, before the route is looked at."""
        return "read" if self.role == "read" else self.scope

    @property
    def most(self) -> Role:
        """The most that this request may do anywhere."""
        return lesser(self.cap, self.ceiling)

    @property
    def is_unlimited(self) -> bool:
        """Whether the token lets through everything that its user may do."""
        return self.cap == "admin" and self.pattern is None

    def covers(self, repo_id: str) -> bool:
        """Whether the token is for a repository."""
        return covers(self.pattern, repo_id)

    def narrowed(self, ceiling: Role) -> "Caller":
        """The same caller on a route that asks for no more than `ceiling`."""
        return replace(self, ceiling=lesser(self.ceiling, ceiling))


ANONYMOUS = Caller(user_id=None, name="", role="read", scope="read")
CONSOLE = Caller(user_id=None, name="(command line)", role="admin")
"""Whoever can run commands on the data directory."""
