"""The TOML file that may hold settings: it is named by an earlier source, and read whole or refused in one line."""

import stat
import tomllib
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from petapter_schemas.errors import InputError

_OTHERS = stat.S_IRWXO
_SECRETS = frozenset({"direct_uploads_secret", "oidc_client_secret"})


class SettingsFile(PydanticBaseSettingsSource):
    """The settings of the file that the command line or the environment names as `config`; without one, nothing."""

    def __init__(self, settings_cls: type[BaseSettings], known: Collection[str]) -> None:
        """`known` are the names that may stand in the file; those that `settings_cls` has no use for are left out."""
        super().__init__(settings_cls)
        self._known = known

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """One setting; the base class asks for this method, which `__call__` makes no use of."""
        del field
        return self().get(field_name), field_name, False

    def __call__(self) -> dict[str, Any]:
        """What the file says.

        Raises:
            InputError: It cannot be read, names something that is no setting, or lets others read a password.
        """
        named = self.current_state.get("config")
        if named is None:
            return {}
        values = read_settings_file(Path(named), self._known)
        return {name: value for name, value in values.items() if name in self.settings_cls.model_fields}


def read_settings_file(file: Path, known: Collection[str]) -> dict[str, Any]:
    """The settings in a TOML file. Raises: InputError."""
    try:
        with file.open("rb") as stream:
            mode = stat.S_IMODE(file.stat().st_mode)
            values = tomllib.load(stream)
    except OSError as error:
        raise InputError(f"the settings file {file} cannot be read: {error.strerror}") from error
    except ValueError as error:  # of TOML, or of its UTF-8
        raise InputError(f"the settings file {file} is no TOML: {str(error).partition(chr(10))[0]}") from error
    for name in values:
        if name not in known:
            raise InputError(f"{name!r} in {file} is no setting: {_advice(name, known)}")
    if mode & _OTHERS and _holds_secret(values):
        raise InputError(f"{file} holds a password and has mode {mode:o}, so others may read it: chmod o= {file}")
    return values


def _advice(name: str, known: Collection[str]) -> str:
    close = get_close_matches(name, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"the settings are {', '.join(sorted(known))}"


def _holds_secret(values: Mapping[str, object]) -> bool:
    return not _SECRETS.isdisjoint(values) or _has_password(values.get("database"))


def _has_password(url: object) -> bool:
    if not isinstance(url, str):
        return False
    try:
        parts = urlsplit(url)
    except ValueError:
        return True
    return bool(parts.password) or "password" in parse_qs(parts.query)
