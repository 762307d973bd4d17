"""Signing in with an identity provider: bound to one browser, finished once, and never by a name alone.

What a browser keeps while it is away is signed and says nothing secret: what the provider must give back, and what
proves that the code is ours, are made of the state by a key that only the registry's servers know.
"""

import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from itsdangerous import BadData, URLSafeTimedSerializer

from petapter_registry_server.clock import now_ms
from petapter_registry_server.db import publishers
from petapter_registry_server.db.engine import Database
from petapter_registry_server.db.own_values import own_value
from petapter_registry_server.errors import (
    IdentityProviderError,
    InvalidRequestError,
    SignInError,
    SignInRefusedError,
)
from petapter_registry_server.services.identities import Identities
from petapter_registry_server.services.identity_provider import IdentityProvider, Person, Question, shown_code
from petapter_registry_server.services.sign_in_settings import Newcomers
from petapter_registry_server.services.web_sessions import WebSession
from petapter_schemas.errors import InvalidNameError

LIFETIME_S = 600
_PURPOSE = "sign-in"
_MAX_COOKIE = 3500
_NOT_BEGUN = "this sign-in was not begun in this browser, or more than ten minutes ago: sign in again"


@dataclass(frozen=True)
class Begun:
    """A sign-in on its way.

    Attributes:
        address: Where the browser goes.
        cookie: What it keeps meanwhile.
    """

    address: str
    cookie: str


@dataclass(frozen=True)
class ProviderAnswer:
    """What the browser brings back from the provider; None is what it does not bring."""

    state: str | None
    code: str | None
    error: str | None
    issuer: str | None


@dataclass(frozen=True)
class Finished:
    """A sign-in whose person is proved.

    Attributes:
        person: Who signed in.
        following: The page to go on with.
        linking: The login that wants to be linked with that person; None where a login is to begin.
    """

    person: Person
    following: str
    linking: str | None


class SignIn:
    """Signing in to one registry with one identity provider."""

    def __init__(self, database: Database, provider: IdentityProvider, identities: Identities) -> None:
        self.label = provider.settings.label
        self._database = database
        self._provider = provider
        self._identities = identities
        with database.write() as session:
            self._key = own_value(session, _PURPOSE).encode()
        self._begun = URLSafeTimedSerializer(self._key, salt="begun")
        self._offers = URLSafeTimedSerializer(self._key, salt="offer")

    def begin(self, back: str, following: str, *, linking: WebSession | None = None) -> Begun:
        """Send a browser to the provider.

        Args:
            back: The address that the provider sends it back to.
            following: The page of this registry to go on with.
            linking: The login whose user is to be linked; None where a login is to begin.

        Raises:
            IdentityProviderError: The provider does not answer as it should.
        """
        state = secrets.token_urlsafe(32)
        cookie = _text(self._begun.dumps([state, following, linking.id if linking else ""]))
        if len(cookie) > _MAX_COOKIE:
            cookie = _text(self._begun.dumps([state, "/", linking.id if linking else ""]))
        return Begun(self._provider.address(self._question(state, back)), cookie)

    def finish(self, cookie: str, answer: ProviderAnswer, back: str) -> Finished:
        """Who came back from the provider to the browser that was sent there; once.

        Raises:
            SignInError: It is another browser, too late, or the second time, or nothing is proved.
            SignInRefusedError: The person said no, or the provider did.
            IdentityProviderError: The provider does not answer as it should.
        """
        state, following, linking = self._read(cookie)
        if answer.state is None or not hmac.compare_digest(answer.state.encode(), state.encode()):
            raise SignInError(_NOT_BEGUN)
        self._use(state)
        if answer.issuer is not None and answer.issuer != self._provider.settings.issuer:  # RFC 9207
            raise SignInError("this answer is of another identity provider: sign in again")
        if answer.error is not None:
            raise _refusal(answer.error)
        if not answer.code:
            raise SignInError("the identity provider sent no code: sign in again")
        person = self._provider.redeem(answer.code, self._question(state, back))
        return Finished(person, following, linking or None)

    def enter(self, person: Person) -> int:
        """The token that the login of a person stands for, who becomes a user where newcomers are welcome.

        Raises:
            SignInRefusedError: Nobody here is linked with this person, or the user is disabled.
            IdentityProviderError: The provider does not say what newcomers are asked for.
        """
        known = self._identities.sign_in(person.issuer, person.subject)
        if known is not None:
            return known
        newcomers = self._provider.settings.newcomers
        if not newcomers.are_welcome:
            raise _unknown(person, "and signing in makes no users here")
        claims = self._provider.claims_of(person, _asked_of(newcomers))
        if problem := _unfit(newcomers, claims):
            raise _unknown(person, f"and you cannot become a user here: {problem}")
        name = _name(newcomers, claims)
        try:
            return self._identities.create(person.issuer, person.subject, name)
        except (InvalidNameError, InvalidRequestError) as error:
            raise _unknown(person, f"and cannot become the user {name!r}: {error}") from error

    def offer(self, person: Person, session: WebSession) -> str:
        """What a form carries that links a person with the user of a login, when the user says so."""
        return _text(self._offers.dumps([person.issuer, person.subject, session.id]))

    def taken(self, offer: str, session: WebSession) -> tuple[str, str]:
        """Issuer and subject of an offer to this login.

        Raises:
            SignInError: It is none, too old, or to another login.
        """
        try:
            issuer, subject, login = self._offers.loads(offer, max_age=LIFETIME_S)
        except (BadData, TypeError, ValueError) as error:
            raise SignInError("this link was not offered here, or more than ten minutes ago: begin again") from error
        if login != session.id:
            raise SignInError("this link was offered to another login: begin again")
        return str(issuer), str(subject)

    def _read(self, cookie: str) -> tuple[str, str, str]:
        try:
            state, following, linking = self._begun.loads(cookie, max_age=LIFETIME_S)
        except (BadData, TypeError, ValueError) as error:
            raise SignInError(_NOT_BEGUN) from error
        return str(state), str(following), str(linking)

    def _use(self, state: str) -> None:
        at = now_ms()
        digest = sha256(f"sign-in\0{state}".encode()).hexdigest()
        with self._database.write() as session:
            if not publishers.use_assertion(session, digest, expires_ms=at + 2 * LIFETIME_S * 1000, at_ms=at):
                raise SignInError("this sign-in is over already: sign in again")

    def _question(self, state: str, back: str) -> Question:
        return Question(state, self._derived("nonce", state), self._derived("verifier", state), back)

    def _derived(self, what: str, state: str) -> str:
        return hmac.new(self._key, f"{what} {state}".encode(), sha256).hexdigest()


def _refusal(error: str) -> Exception:
    code = shown_code(error)
    if code in {"server_error", "temporarily_unavailable"}:
        return IdentityProviderError(f"the identity provider answered with {code}: try again, or log in with a token")
    return SignInRefusedError(f"the identity provider signed nobody in ({code}): sign in again, or log in with a token")


def _unknown(person: Person, why: str) -> SignInRefusedError:
    return SignInRefusedError(
        f"nobody here is linked with this identity ({person.issuer}, subject {person.subject}), {why}. If you are a "
        "user, log in with a token and link it at /web/identities, or ask whoever runs this registry: "
        "petapter-registry user link"
    )


def _asked_of(newcomers: Newcomers) -> frozenset[str]:
    wanted = {newcomers.name_claim}
    if newcomers.email_domains:
        wanted |= {"email", "email_verified"}
    if newcomers.claim:
        wanted.add(newcomers.claim[0])
    return frozenset(wanted)


def _unfit(newcomers: Newcomers, claims: Mapping[str, Any]) -> str | None:
    """What keeps somebody from becoming a user."""
    if newcomers.email_domains:
        email, verified = claims.get("email"), claims.get("email_verified")
        if not isinstance(email, str) or not (verified is True or verified == "true"):
            return "the identity provider names no verified e-mail address"
        if email.rpartition("@")[2].lower() not in newcomers.email_domains:
            return "your e-mail address is of another domain"
    if not isinstance(claims.get(newcomers.name_claim), str):
        return f"the identity provider sends no claim {newcomers.name_claim!r} to name you by"
    if newcomers.claim:
        name, value = newcomers.claim
        found = claims.get(name)
        if found != value and not (isinstance(found, list) and value in found):
            return f"the claim {name!r} has not the value that this registry asks for"
    return None


def _name(newcomers: Newcomers, claims: Mapping[str, Any]) -> str:
    """What a newcomer is called: of an address, what stands before the @."""
    return str(claims[newcomers.name_claim]).partition("@")[0]


def _text(signed: str | bytes) -> str:
    return signed if isinstance(signed, str) else signed.decode()
