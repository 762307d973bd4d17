"""Speaks to one hub or registry through huggingface_hub, and alone knows what its errors mean to the user."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TypeVar

from huggingface_hub import HfApi, get_session, is_offline_mode
from huggingface_hub.errors import (
    BadRequestError,
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HfUriError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]  # it exports it lazily
from pydantic import BaseModel, ValidationError

from petapter_hub_client.remotes import Remote, find_remote
from petapter_hub_client.tokens import find_origin, find_token, login_remedy, warn_of_token_for_nobody
from petapter_schemas.errors import (
    AuthenticationError,
    OfflineError,
    PetapterError,
    RemoteError,
    RemoteNotFoundError,
    RemoteUnreachableError,
    VersionConflictError,
)

PROBE_TIMEOUT_S = 3.0

Answer = TypeVar("Answer", bound=BaseModel)

_TRANSPORT_ERROR: type[Exception] = HfHubHTTPError.__mro__[1]  # HTTPError of httpx2, or of httpx in huggingface_hub 1.x
_FOREIGN = (_TRANSPORT_ERROR, LocalEntryNotFoundError, ConnectionError, json.JSONDecodeError, HfUriError,
            HFValidationError, EntryNotFoundError)  # fmt: skip
_SHOWN_CHARACTERS = 400


@dataclass(frozen=True)
class Hub:
    """A remote that answered, and the client for it.

    Attributes:
        remote: Its name and address.
        api: Sends the token of this remote, or none at all; never that of another one.
        token: The same token.
    """

    remote: Remote
    api: HfApi
    token: str | None = field(repr=False)

    @property
    def headers(self) -> dict[str, str]:
        """Of a request that huggingface_hub has no method for: who asks, and the token of this remote or none."""
        headers: dict[str, str] = build_hf_headers(token=self.token or False, library_name="petapter")
        return headers

    def read(self, shape: type[Answer], data: bytes) -> Answer:
        """An answer of the remote in the shape that it must have.

        Raises:
            RemoteError: It has another one.
        """
        try:
            return shape.model_validate_json(data)
        except ValidationError as error:
            raise RemoteError(
                f"remote {self.remote.name!r} at {self.remote.url} answers, but not as a hub does: check its address"
            ) from error


def open_hub(name: str | None) -> Hub:
    """Reach a remote by its name, or the default one.

    Raises:
        InputError: There is no such remote.
        RemoteUnreachableError: It does not answer within seconds, or HF_HUB_OFFLINE is set.
    """
    remote = find_remote(name)
    warn_of_token_for_nobody()
    refuse_offline(remote)
    token = find_token(remote)
    return Hub(remote, connect(remote, token), token)


def connect(remote: Remote, token: str | None) -> HfApi:
    """A client for a remote that sends this token, or explicitly none (None would mean the saved token of the Hub).

    Raises:
        RemoteUnreachableError: The remote does not answer within seconds, or HF_HUB_OFFLINE is set.
    """
    refuse_offline(remote)
    if (problem := probe(remote.url)) is not None:
        raise _unreachable(remote, problem)
    return HfApi(endpoint=remote.url, token=token or False, library_name="petapter")


def refuse_offline(remote: Remote) -> None:
    """Go on only where remotes may be asked.

    Raises:
        OfflineError: HF_HUB_OFFLINE is set, or --offline was given.
    """
    if is_offline_mode():
        raise OfflineError(
            f"remote {remote.name!r} is not asked, because of --offline or HF_HUB_OFFLINE: pull what is needed while "
            "online"
        )


def probe(url: str, timeout_s: float = PROBE_TIMEOUT_S) -> str | None:
    """Ask an address once, without a token; None when anything answers, else the reason.

    huggingface_hub waits without limit and retries, so a closed network is found out here.
    """
    try:
        get_session().head(url, timeout=timeout_s, follow_redirects=False)
    except _TRANSPORT_ERROR as error:
        return _line(error) or type(error).__name__
    return None


def require_token(hub: Hub) -> None:
    """Refuse to go on without a token.

    Raises:
        AuthenticationError: There is none for this remote.
    """
    if hub.token is None:
        raise missing_token(hub.remote)


def missing_token(remote: Remote) -> AuthenticationError:
    """The error of a remote that there is no token for."""
    return AuthenticationError(f"there is no token for remote {remote.name!r}: run 'petapter login {remote.name}'")


def refused_token(remote: Remote, reason: str) -> AuthenticationError:
    """The error of a remote that wants a token, or another one than it got."""
    if find_origin(remote) is None:
        return AuthenticationError(f"remote {remote.name!r} wants a token ({reason}): {login_remedy(remote)}")
    return AuthenticationError(
        f"remote {remote.name!r} refuses the token, which was revoked, has expired or was never one: "
        f"{login_remedy(remote)}"
    )


@contextmanager
def asking(remote: Remote, subject: str = "") -> Iterator[None]:
    """Translate whatever huggingface_hub raises inside.

    Args:
        remote: Who is asked.
        subject: The module in question, for messages.

    Raises:
        RemoteError: With cause and remedy in one line.
    """
    try:
        yield
    except _FOREIGN as error:
        raise _translated(error, remote, subject or "this") from error
    except OSError as error:
        if error.errno is not None:  # a disk speaks, not the remote
            raise
        raise RemoteError(f"remote {remote.name!r} broke off ({_line(error)}): try again") from error


def _translated(error: Exception, remote: Remote, subject: str) -> PetapterError:
    cause = error.__cause__
    if isinstance(error, LocalEntryNotFoundError) and isinstance(cause, Exception):
        return _translated(cause, remote, subject)
    if isinstance(error, OfflineModeIsEnabled):
        return OfflineError(f"remote {remote.name!r} is not asked, because of --offline or HF_HUB_OFFLINE")
    if isinstance(error, HfHubHTTPError):
        return _refusal(error, remote, subject)
    if isinstance(error, json.JSONDecodeError | HfUriError):
        return RemoteError(
            f"remote {remote.name!r} at {remote.url} answers, but not as a hub does ({_line(error)}): check its address"
        )
    if isinstance(error, HFValidationError):
        return RemoteError(f"{subject} cannot be asked for: {_line(error)}")
    return _unreachable(remote, _line(error))


def _refusal(error: HfHubHTTPError, remote: Remote, subject: str) -> PetapterError:
    status = error.response.status_code
    reason = _line(error.server_message or error.response.reason_phrase)
    if (missing := _missing(error, remote, subject)) is not None:
        return missing
    if status == HTTPStatus.UNAUTHORIZED:
        return refused_token(remote, reason)
    if status == HTTPStatus.FORBIDDEN:
        return AuthenticationError(
            f"remote {remote.name!r} does not allow that: {reason}; log in with a token that has the right "
            f"('petapter login {remote.name}')"
        )
    if status in {HTTPStatus.CONFLICT, HTTPStatus.PRECONDITION_FAILED}:
        return VersionConflictError(f"{subject} changed on remote {remote.name!r} meanwhile ({reason}): try again")
    if isinstance(error, BadRequestError) or status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return RemoteError(f"remote {remote.name!r} refuses the request ({status}): {reason}")
    return RemoteError(f"remote {remote.name!r} failed ({status}): {reason}; try again later")


def _missing(error: HfHubHTTPError, remote: Remote, subject: str) -> PetapterError | None:
    if isinstance(error, GatedRepoError):
        return AuthenticationError(
            f"{subject} on remote {remote.name!r} is gated: ask for access on {remote.url} first"
        )
    if isinstance(error, RepositoryNotFoundError):
        return RemoteNotFoundError(
            f"remote {remote.name!r} has no module {subject}, or not for you: check the name, or run "
            f"'petapter login {remote.name}' if it is private"
        )
    if isinstance(error, RevisionNotFoundError):
        return RemoteNotFoundError(f"{subject} has no such version, tag, branch or commit: see 'petapter search'")
    if isinstance(error, EntryNotFoundError):
        return RemoteNotFoundError(f"{subject} on remote {remote.name!r} is no petapter module, or lacks a file")
    return None


def _unreachable(remote: Remote, reason: str) -> RemoteUnreachableError:
    return RemoteUnreachableError(
        f"remote {remote.name!r} at {remote.url} does not answer ({reason}): check that it runs, the network, "
        "and its address ('petapter remote list')"
    )


def _line(problem: object) -> str:
    text = " ".join(str(problem).split())
    return "".join(character for character in text if character.isprintable())[:_SHOWN_CHARACTERS]
