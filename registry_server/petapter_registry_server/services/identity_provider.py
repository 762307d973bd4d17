"""The identity provider that people sign in with: OpenID Connect Core 1.0 by authorization code and PKCE (RFC 7636)."""

import base64
import hmac
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any
from urllib.parse import quote_plus, urlencode

from petapter_registry_server.errors import IdentityProviderError, OutboundError, SignInError, UnprovedError
from petapter_registry_server.services.issuers import Issuers, Proved
from petapter_registry_server.services.outbound import Outbound
from petapter_registry_server.services.sign_in_settings import ProviderSettings

_OK = 200
_CODE = re.compile(r"[a-z_]{1,64}")
_MAX_SUBJECT = 255  # OpenID Connect Core 1.0, section 2


@dataclass(frozen=True)
class Question:
    """One sign-in, as the provider is asked for it.

    Attributes:
        state: What the provider gives back, so that its answer is known from others.
        nonce: What stands in its token, so that this one is known from others.
        verifier: What proves that who redeems the code is who asked for it.
        back: The address that it sends the browser back to.
    """

    state: str
    nonce: str
    verifier: str
    back: str


@dataclass(frozen=True)
class Person:
    """Somebody whom the provider knows; issuer and subject together are for ever this one."""

    issuer: str
    subject: str
    claims: Mapping[str, Any] = field(repr=False)
    access_token: str | None = field(default=None, repr=False)


class IdentityProvider:
    """One identity provider."""

    def __init__(self, settings: ProviderSettings, outbound: Outbound) -> None:
        self.settings = settings
        self._outbound = outbound
        self._issuers = Issuers(outbound)

    def address(self, question: Question) -> str:
        """Where the browser goes to sign in.

        Raises:
            IdentityProviderError: The provider does not say, or not as it should.
        """
        digest = sha256(question.verifier.encode()).digest()
        query = urlencode(
            {
                "response_type": "code",
                "client_id": self.settings.client_id,
                "redirect_uri": question.back,
                "scope": self.settings.scopes,
                "state": question.state,
                "nonce": question.nonce,
                "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
                "code_challenge_method": "S256",
            }
        )
        endpoint = self.endpoint("authorization_endpoint")
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{query}"

    def redeem(self, code: str, question: Question) -> Person:
        """Who signed in, by the code that the browser brought back.

        Raises:
            SignInError: The code is not good, or what the provider says is not for this sign-in.
            IdentityProviderError: The provider does not answer as it should.
        """
        answer = self._tokens(code, question)
        token, access = answer.get("id_token"), answer.get("access_token")
        if not isinstance(token, str):
            raise IdentityProviderError(f"{self.settings.issuer} answered without an ID token: ask whoever runs it")
        try:
            with self._translated():
                proved = self._issuers.prove(token, self.settings.issuer, now_s=time.time())
        except UnprovedError as error:
            raise _unproved(str(error)) from error
        subject = self._check_meant(proved, question)
        return Person(proved.issuer, subject, proved.claims, access if isinstance(access, str) else None)

    def claims_of(self, person: Person, wanted: frozenset[str]) -> Mapping[str, Any]:
        """What the provider says of somebody, asked once more where its token lacks something that is wanted.

        Raises:
            IdentityProviderError: It does not answer as it should, or answers about somebody else.
        """
        if wanted <= person.claims.keys() or person.access_token is None:
            return person.claims
        with self._translated():
            if "userinfo_endpoint" not in self._issuers.about(self.settings.issuer):
                return person.claims
            endpoint = self.endpoint("userinfo_endpoint")
            said = self._outbound.read_json(endpoint, headers={"Authorization": f"Bearer {person.access_token}"})
        if said.get("sub") != person.subject:
            raise IdentityProviderError(f"{self.settings.issuer} answered about somebody else than who signed in")
        return {**said, **person.claims}

    def endpoint(self, name: str) -> str:
        """An address of the provider, as it publishes it.

        Raises:
            IdentityProviderError: It does not answer, or publishes none that may be asked.
        """
        with self._translated():
            address = str(self._issuers.about(self.settings.issuer).get(name))
            self._outbound.check_url(address)
        return address

    def about(self) -> Mapping[str, Any]:
        """What the provider says of itself. Raises: IdentityProviderError."""
        with self._translated():
            return self._issuers.about(self.settings.issuer)

    def _tokens(self, code: str, question: Question) -> Mapping[str, Any]:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": question.back,
            "code_verifier": question.verifier,
        }
        endpoint = self.endpoint("token_endpoint")
        headers, own = self._authentication()
        with self._translated():
            status, answer = self._outbound.send_form(endpoint, headers=headers, form={**form, **own})
        if status == _OK:
            return answer
        cause = shown_code(answer.get("error"))
        if cause == "invalid_grant":
            raise SignInError("the identity provider does not take the code of this sign-in any more: sign in again")
        raise IdentityProviderError(
            f"{self.settings.issuer} answered with status {status} ({cause}): try again, or ask whoever runs this "
            "registry to check its client id and secret"
        )

    def _authentication(self) -> tuple[Mapping[str, str], Mapping[str, str]]:
        """Headers and fields by which the provider knows this registry (RFC 6749, section 2.3.1)."""
        client, secret = self.settings.client_id, self.settings.client_secret
        if secret is None:
            return {}, {"client_id": client}
        taken = self.about().get("token_endpoint_auth_methods_supported")
        if isinstance(taken, list) and "client_secret_basic" not in taken and "client_secret_post" in taken:
            return {}, {"client_id": client, "client_secret": secret.get_secret_value()}
        pair = f"{quote_plus(client)}:{quote_plus(secret.get_secret_value())}"
        return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}, {}

    def _check_meant(self, proved: Proved, question: Question) -> str:
        """The subject of a token that is for this registry and this sign-in (Core, section 3.1.3.7)."""
        client, claims = self.settings.client_id, proved.claims
        party = claims.get("azp", client if len(proved.audiences) == 1 else None)
        if client not in proved.audiences or party != client:
            raise _unproved("it is for somebody else than this registry")
        nonce, subject = claims.get("nonce"), claims.get("sub")
        if not isinstance(nonce, str) or not hmac.compare_digest(nonce.encode(), question.nonce.encode()):
            raise _unproved("it is of another sign-in")
        if not isinstance(subject, str) or not is_subject(subject):
            raise _unproved("it says of nobody who they are")
        return subject

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except OutboundError as error:
            raise IdentityProviderError(
                f"the identity provider {self.settings.label} cannot be used now ({error}): try again later, or log in "
                "with a token"
            ) from error


def is_subject(text: str) -> bool:
    """Whether a text can be a subject: 1 to 255 visible characters of ASCII."""
    return 0 < len(text) <= _MAX_SUBJECT and text.isascii() and text.isprintable()


def shown_code(error: object) -> str:
    """A code of RFC 6749 as it may be shown; others are not repeated."""
    return error if isinstance(error, str) and _CODE.fullmatch(error) else "no reason that can be shown"


def _unproved(why: str) -> SignInError:
    return SignInError(f"what the identity provider says is refused: {why}; sign in again")
