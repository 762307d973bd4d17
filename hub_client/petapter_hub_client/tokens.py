"""Which token goes to which remote: the only reader and writer of tokens.json, a file of mode 600."""

import os
import tempfile
from pathlib import Path

from pydantic import Field

from petapter_hub_client.locks import CONFIG_TIMEOUT_S, locked
from petapter_hub_client.places import config_directory
from petapter_hub_client.remotes import Remote, variable_suffix
from petapter_hub_client.settings_files import read_settings
from petapter_schemas.errors import InputError
from petapter_schemas.frozen import Frozen
from petapter_schemas.references import HUB_REMOTE

TOKENS_FILE = "tokens.json"


class _Token(Frozen):
    """A token and the address it was given for, so that a remote added again elsewhere does not get it."""

    url: str
    token: str


class _Document(Frozen):
    """tokens.json: tokens by the name of their remote."""

    tokens: dict[str, _Token] = Field(default_factory=dict)


def find_token(remote: Remote) -> str | None:
    """The token for a remote: from PETAPTER_TOKEN_<REMOTE>, else `petapter login`; for the Hub also `hf auth login`.

    Raises:
        InputError: tokens.json is broken.
    """
    if from_environment := os.environ.get(token_variable(remote.name), "").strip():
        return from_environment
    stored = _read().tokens.get(remote.name)
    if stored is not None and stored.url == remote.url:
        return stored.token
    return _hub_token() if remote.name == HUB_REMOTE else None


def token_variable(remote_name: str) -> str:
    """The environment variable that overrides the stored token of a remote."""
    return f"PETAPTER_TOKEN_{variable_suffix(remote_name)}"


def store_token(remote: Remote, token: str) -> Path:
    """Keep a token for a remote and its present address; returns the file."""
    return _replace(remote.name, _Token(url=remote.url, token=token))


def forget_token(remote_name: str) -> None:
    """Drop the stored token of a remote, if there is one."""
    if remote_name in _read().tokens:
        _replace(remote_name, None)


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
    directory = config_directory()
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    with locked(directory / f"{TOKENS_FILE}.lock", CONFIG_TIMEOUT_S):
        tokens = {key: value for key, value in _read().tokens.items() if key != name}
        if token is not None:
            tokens[name] = token
        _write_private(directory / TOKENS_FILE, _Document(tokens=tokens).model_dump_json(indent=2).encode() + b"\n")
    return directory / TOKENS_FILE


def _write_private(path: Path, data: bytes) -> None:
    """Replace a file by one that was never readable to others: mkstemp makes it with mode 600."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)


def _read() -> _Document:
    return read_settings(config_directory() / TOKENS_FILE, _Document(), remedy="delete it and log in again")
