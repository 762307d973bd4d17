"""Trusted publishing: programs of an issuer (a CI) get tokens of a few minutes instead of holding one (RFC 8693)."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from petapter_registry_server.clock import now_ms
from petapter_registry_server.db import audit, publishers
from petapter_registry_server.db.engine import Database
from petapter_registry_server.db.publisher_tables import Publisher
from petapter_registry_server.errors import InvalidRequestError, OAuthError, PermissionDeniedError
from petapter_registry_server.services.accounts import TokenLimits, issue
from petapter_registry_server.services.assertions import Assertion, Assertions, unproved_issuer
from petapter_registry_server.services.callers import Caller
from petapter_registry_server.services.outbound import Outbound
from petapter_registry_server.services.patterns import check_pattern, covers
from petapter_registry_server.services.policy import require_token
from petapter_registry_server.services.roles import Role, read_role
from petapter_registry_server.services.tokens import user_id_of

TOKEN_LIFE_S = 900
_MAX_PUBLISHERS = 100


@dataclass(frozen=True)
class NewPublisher:
    """A program to trust: its issuer, the audience it names, and the claims that its assertions must carry."""

    pattern: str
    scope: Role
    issuer: str
    audience: str
    claims: Mapping[str, str]


@dataclass(frozen=True)
class PublisherLine:
    """A trusted program."""

    id: int
    new: NewPublisher
    created_ms: int


@dataclass(frozen=True)
class ShortToken:
    """A token of a few minutes."""

    secret: str
    life_s: int


class TrustedPublishing:
    """The trusted programs of one registry."""

    def __init__(self, database: Database, outbound: Outbound) -> None:
        self._database = database
        self._outbound = outbound
        self._assertions = Assertions(outbound)

    def register(self, caller: Caller, new: NewPublisher) -> int:
        """Trust a program to act as the caller, in some repositories and no further than a scope, and return its id.

        Raises:
            PermissionDeniedError: The caller's token has not the scope admin, or is for fewer repositories.
            InvalidRequestError: The pattern is none, no claim is named, or the caller trusts too many.
            OutboundError: The issuer is no https address.
        """
        require_token(caller, "admin")
        check_pattern(new.pattern)
        self._outbound.check_url(new.issuer)
        if not covers(caller.pattern, new.pattern):
            raise PermissionDeniedError(f"this token is for {caller.pattern}: ask for a publisher within that")
        if not new.claims:
            raise InvalidRequestError("name a claim that only your program has, such as 'repository' or 'sub'")
        with self._database.write() as session:
            if len(publishers.list_publishers(session, user_id_of(caller))) >= _MAX_PUBLISHERS:
                raise InvalidRequestError(f"you trust {_MAX_PUBLISHERS} publishers already: remove one")
            row = Publisher(
                user_id=user_id_of(caller),
                pattern=new.pattern,
                scope=new.scope,
                issuer=new.issuer,
                audience=new.audience,
                claims=dict(new.claims),
                created_ms=now_ms(),
            )
            session.add(row)
            session.flush()
            detail = f"id={row.id} scope={new.scope} issuer={new.issuer} claims={sorted(new.claims.items())}"
            audit.record(session, actor=caller.name, action="publisher.create", subject=new.pattern, detail=detail)
            return row.id

    def list_own(self, caller: Caller) -> Sequence[PublisherLine]:
        """The programs that may act as the caller."""
        with self._database.read() as session:
            return [_line(row) for row in publishers.list_publishers(session, user_id_of(caller))]

    def remove(self, caller: Caller, publisher_id: int) -> None:
        """Trust a program no more; tokens that it holds end within minutes.

        Raises:
            InvalidRequestError: The caller has no such publisher.
        """
        require_token(caller, "admin")
        with self._database.write() as session:
            row = session.get(Publisher, publisher_id)
            if row is None or row.user_id != user_id_of(caller):
                raise InvalidRequestError(f"you have no publisher {publisher_id}")
            session.delete(row)
            subject, detail = row.pattern, f"id={row.id}"
            audit.record(session, actor=caller.name, action="publisher.remove", subject=subject, detail=detail)

    def exchange(self, token: str, resource: str | None) -> ShortToken:
        """A token for an assertion of a trusted program: for one repository (`resource`), or for all that it may touch.

        Each assertion is good for one token.

        Raises:
            OAuthError: No program that this assertion proves is trusted with that, or it was used before.
        """
        issuer = unproved_issuer(token)
        with self._database.read() as session:
            if not publishers.of_issuer(session, issuer):
                raise _nobody()
        assertion = self._assertions.prove(token, issuer, now_s=time.time())
        with self._database.write() as session:
            for row, user in publishers.of_issuer(session, issuer):
                if not _is_meant(_line(row).new, assertion) or not covers(row.pattern, resource or row.pattern):
                    continue
                kept_ms = assertion.last_ms + TOKEN_LIFE_S * 1000
                if not publishers.use_assertion(session, assertion.sha256, expires_ms=kept_ms, at_ms=now_ms()):
                    raise OAuthError("invalid_grant", "the subject_token was used before: ask the issuer for a new one")
                name, expires_ms = f"publisher {row.id}", now_ms() + TOKEN_LIFE_S * 1000
                limits = TokenLimits(name, expires_ms, read_role(row.scope), resource or row.pattern)
                return ShortToken(issue(session, user, "write", limits, actor=name).secret, TOKEN_LIFE_S)
        raise _nobody()


def _is_meant(new: NewPublisher, assertion: Assertion) -> bool:
    """Whether an assertion proves to be this program: every claim is there and the same."""
    same = all(assertion.claims.get(name) == value for name, value in new.claims.items())
    return same and new.audience in assertion.audiences


def _line(row: Publisher) -> PublisherLine:
    new = NewPublisher(row.pattern, read_role(row.scope), row.issuer, row.audience, row.claims)
    return PublisherLine(row.id, new, row.created_ms)


def _nobody() -> OAuthError:
    return OAuthError(
        "invalid_grant", "nobody trusts this program with that: register its issuer, audience and claims as a publisher"
    )
