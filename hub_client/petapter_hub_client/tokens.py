"""Which token goes to which remote: from the environment, the keyring of the system, or tokens.json, of mode 600.

tokens.json says for every remote whether its token is in the keyring, so that a keyring is asked for what it has alone.
"""

import logging
import os
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from petapter_hub_client import keyrings
from petapter_hub_client.places import config_directory
from petapter_hub_client.private_files import write_private_file
from petapter_hub_client.remotes import REMOTE_VARIABLE, Remote, variable_suffix
from petapter_hub_client.settings_files import changing_settings, read_settings
from petapter_schemas.errors import InputError
from petapter_schemas.frozen import Frozen
from petapter_schemas.references import HUB_REMOTE

TOKENS_FILE = "tokens.json"
TOKEN_VARIABLE = "PETAPTER_TOKEN"  # noqa: S105 (the name of a variable)
"""The token of the remote that PETAPTER_REMOTE names; without that variable it goes to nobody."""

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Origin:
    """Where the token of a remote comes from.

    Attributes:
        place: A variable, "keyring", the path of tokens.json, or "hf auth login".
        is_variable: Whether logging in again would not replace it.
    """

    place: str
    is_variable: bool


@dataclass(frozen=True)
class Kept:
    """A stored token's place, for people; `origin` names it for programs."""

    path: Path
    in_keyring: bool

    def __str__(self) -> str:
        return "the system keyring" if self.in_keyring else str(self.path)


class _Token(Frozen):
    """A token and the address it was given for, so that a remote added again elsewhere does not get it.

    Attributes:
        token: None where the keyring holds it.
    """

    url: str
    token: str | None


class _Document(Frozen):
    """tokens.json: tokens by the name of their remote."""

    tokens: dict[str, _Token] = Field(default_factory=dict)


def find_token(remote: Remote) -> str | None:
    """The token for a remote.

    In this order: PETAPTER_TOKEN_<REMOTE>; PETAPTER_TOKEN, if PETAPTER_REMOTE names this remote; `petapter login`; for
    the Hub what HF_TOKEN or `hf auth login` gave.

    Raises:
        InputError: tokens.json is broken.
    """
    if (variable := _variable(remote)) is not None:
        return os.environ[variable].strip()
    stored = _stored(remote)
    if stored is None:
        return _hub_token() if remote.name == HUB_REMOTE else None
    return stored.token or keyrings.read_secret(_service(remote), remote.name)


def find_origin(remote: Remote) -> Origin | None:
    """Where `find_token` would look; the keyring is not asked.

    Raises:
        InputError: tokens.json is broken.
    """
    if (variable := _variable(remote)) is not None:
        return Origin(variable, is_variable=True)
    stored = _stored(remote)
    if stored is not None:
        path = config_directory() / TOKENS_FILE
        return Origin("keyring" if stored.token is None else str(path), is_variable=False)
    if remote.name != HUB_REMOTE or _hub_token() is None:
        return None
    return Origin("hf auth login", is_variable=False)


def login_remedy(remote: Remote) -> str:
    """What to do about a token that a remote does not take, or about none."""
    origin = find_origin(remote)
    if origin is not None and origin.is_variable:
        return f"it is that of {origin.place}, so correct or unset that variable"
    return f"run 'petapter login {remote.name}'"


def token_variable(remote_name: str) -> str:
    """The environment variable that overrides the stored token of a remote."""
    return f"{TOKEN_VARIABLE}_{variable_suffix(remote_name)}"


def store_token(remote: Remote, token: str) -> Kept:
    """Keep a token for a remote and its present address, in the keyring if there is one; returns where."""
    in_keyring = keyrings.save_secret(_service(remote), remote.name, token)
    path = _replace(remote.name, _Token(url=remote.url, token=None if in_keyring else token))
    return Kept(path, in_keyring)


def forget_token(remote_name: str) -> bool:
    """Drop the stored token of a remote; whether there was one."""
    stored = _read().tokens.get(remote_name)
    if stored is None:
        return False
    if stored.token is None:
        keyrings.forget_secret(_service(Remote(remote_name, stored.url)), remote_name)
    _replace(remote_name, None)
    return True


def warn_of_token_for_nobody() -> None:
    """Say so where PETAPTER_TOKEN is set and goes nowhere, because nothing says which remote it is for."""
    if os.environ.get(TOKEN_VARIABLE, "").strip() and not os.environ.get(REMOTE_VARIABLE, "").strip():
        _LOG.warning(
            "%s is not used, because %s does not say which remote it is for: set that too, or %s_<REMOTE>",
            TOKEN_VARIABLE, REMOTE_VARIABLE, TOKEN_VARIABLE,
        )  # fmt: skip


def _variable(remote: Remote) -> str | None:
    """The environment variable that holds the token of a remote."""
    named = [token_variable(remote.name)]
    if os.environ.get(REMOTE_VARIABLE, "").strip() == remote.name:
        named.append(TOKEN_VARIABLE)
    return next((name for name in named if os.environ.get(name, "").strip()), None)


def _stored(remote: Remote) -> _Token | None:
    stored = _read().tokens.get(remote.name)
    return stored if stored is not None and stored.url == remote.url else None


def _service(remote: Remote) -> str:
    """What the keyring files a token under: bound to the address, as in tokens.json."""
    return f"petapter {remote.url}"


def check_token(token: str) -> str:
    """Return a token without white space around it.

    Raises:
        InputError: It is empty or cannot stand in an HTTP header.
    """
    token = token.strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise InputError("that is no token: it must be printable ASCII without spaces")
    return token


def _hub_token() -> str | None:
    from huggingface_hub import get_token  # noqa: PLC0415 (slow to import, and other remotes do without)

    return get_token()


def _replace(name: str, token: _Token | None) -> Path:
    with changing_settings(TOKENS_FILE) as path:
        tokens = {key: value for key, value in _read().tokens.items() if key != name}
        if token is not None:
            tokens[name] = token
        write_private_file(path, _Document(tokens=tokens).model_dump_json(indent=2).encode() + b"\n")
    return path


def _read() -> _Document:
    return read_settings(config_directory() / TOKENS_FILE, _Document(), remedy="delete it and log in again")
