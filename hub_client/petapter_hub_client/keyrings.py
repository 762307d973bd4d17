# ruff: noqa: PLC0415 (keyring is an optional package, and looking for the system's keyring takes a while)
"""Keeps secrets in the keyring of the system, where the optional package `keyring` finds one; alone knows that package.

A keyring that is absent, locked or broken never stops a command: one warning says what is done instead.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from keyring.backend import KeyringBackend

_SAFE = 1
"""The priority from which `keyring` recommends a backend; those below refuse everything or write plain text."""

_LOG = logging.getLogger(__name__)


class _UnusableError(Exception):
    """The keyring cannot be used; the text says why."""


def save_secret(service: str, user: str, secret: str) -> bool:
    """Keep a secret; whether that was done. Where there is a keyring that fails, a warning says so."""
    try:
        with _failing_as_unusable():
            if (backend := _find()) is not None:
                backend.set_password(service, user, secret)
                return True
    except _UnusableError as error:
        _LOG.warning("the system keyring cannot be written (%s): the token is kept in a file instead", error)
    return False


def read_secret(service: str, user: str) -> str | None:
    """The secret that was saved; None with a warning where it cannot be had."""
    try:
        with _failing_as_unusable():
            secret = _require().get_password(service, user)
    except _UnusableError as error:
        _LOG.warning("the token for %r is in the system keyring, which cannot be read (%s)", user, error)
        return None
    if secret is None:
        _LOG.warning("the token for %r is no longer in the system keyring", user)
    return secret


def forget_secret(service: str, user: str) -> None:
    """Drop a secret; where the keyring cannot be reached, a warning says that it stays there."""
    try:
        with _failing_as_unusable():
            backend = _require()
            if backend.get_password(service, user) is not None:
                backend.delete_password(service, user)
    except _UnusableError as error:
        _LOG.warning("the token for %r may still be in the system keyring, which cannot be changed (%s)", user, error)


def _find() -> "KeyringBackend | None":
    try:
        import keyring
    except ModuleNotFoundError:
        return None
    backend = keyring.get_keyring()
    return backend if backend.priority >= _SAFE else None


def _require() -> "KeyringBackend":
    if (backend := _find()) is None:
        raise _UnusableError("there is none here, or petapter was installed without 'petapter[keyring]'")
    return backend


@contextmanager
def _failing_as_unusable() -> Iterator[None]:
    try:
        from keyring.errors import KeyringError
    except ModuleNotFoundError:
        yield
        return
    try:
        yield
    except KeyringError as error:
        raise _UnusableError(str(error) or type(error).__name__) from error
    except (OSError, ImportError) as error:  # a D-Bus that does not answer; a PYTHON_KEYRING_BACKEND that is not there
        raise _UnusableError(str(error)) from error
