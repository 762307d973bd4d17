"""Which remotes the user knows, by name and address, and what each must prove: alone reads and writes remotes.json."""

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import Field

from petapter_hub_client.places import config_directory
from petapter_hub_client.settings_files import changing_settings, read_settings
from petapter_hub_client.suggestions import did_you_mean
from petapter_schemas.digests import Sha256
from petapter_schemas.durable import write_file_durably
from petapter_schemas.errors import InputError
from petapter_schemas.frozen import Frozen
from petapter_schemas.references import HUB_REMOTE, check_remote_name

HUB_URL = "https://huggingface.co"
REMOTES_FILE = "remotes.json"
REMOTE_VARIABLE = "PETAPTER_REMOTE"
"""Names the default remote, whatever remotes.json says."""


@dataclass(frozen=True)
class Remote:
    """A hub or registry: its name here and its address, without a slash at the end."""

    name: str
    url: str


class AllowedKey(Frozen):
    """A key that may sign modules.

    Attributes:
        modules: Pattern of `namespace/name`, in which `*` and `?` stand for any characters.
        key: Its fingerprint.
    """

    modules: str
    key: Sha256


class Policy(Frozen):
    """What must be proved of a remote's modules before they are used.

    Attributes:
        require_signature: A trusted key must have signed each.
        allowed: If there are any, only these keys count, each for its modules alone; others are refused.
    """

    require_signature: bool = False
    allowed: tuple[AllowedKey, ...] = ()

    @property
    def asks_for_signatures(self) -> bool:
        """Whether a module without a signature is refused."""
        return self.require_signature or bool(self.allowed)


class _Document(Frozen):
    """remotes.json: addresses by name, without the built-in Hub, and policies by the names of remotes."""

    default: str = HUB_REMOTE
    remotes: dict[str, str] = Field(default_factory=dict)
    policies: dict[str, Policy] = Field(default_factory=dict)


def list_remotes() -> tuple[Remote, ...]:
    """All remotes, the built-in Hub first, then in the order they were added.

    Raises:
        InputError: remotes.json is broken.
    """
    added = _read().remotes.items()
    return (Remote(HUB_REMOTE, HUB_URL), *(Remote(name, url) for name, url in added))


def default_remote_name() -> str:
    """The remote meant by a reference that names none: that of PETAPTER_REMOTE, else the chosen one.

    Raises:
        InputError: remotes.json is broken.
    """
    return os.environ.get(REMOTE_VARIABLE, "").strip() or _read().default


def find_remote(name: str | None) -> Remote:
    """The remote of a name, or the default one.

    Raises:
        InputError: There is none of that name.
    """
    wanted = name or default_remote_name()
    remotes = list_remotes()
    for remote in remotes:
        if remote.name == wanted:
            return remote
    names = [remote.name for remote in remotes]
    named_by = f", which {REMOTE_VARIABLE} names" if name is None and os.environ.get(REMOTE_VARIABLE) else ""
    raise InputError(
        f"there is no remote {wanted!r}{named_by} (remotes: {', '.join(names)}): add it with "
        f"'petapter remote add {wanted} URL'{did_you_mean(wanted, names)}"
    )


def add_remote(name: str, url: str) -> Remote:
    """Record a remote.

    Raises:
        InputError: The name is taken or reads like another one, or the address is no http(s) URL.
    """
    remote = Remote(check_remote_name(name), check_url(url))
    with changing_settings(REMOTES_FILE):
        document = _read()
        _refuse_taken(remote, document)
        _write(document.model_copy(update={"remotes": {**document.remotes, name: remote.url}}))
    return remote


def remove_remote(name: str) -> None:
    """Forget a remote and its policy; when it was the default, the Hub is again.

    Raises:
        InputError: There is none of that name, or it is the built-in Hub.
    """
    if name == HUB_REMOTE:
        raise InputError(f"remote {HUB_REMOTE!r} is built in and cannot be removed")
    find_remote(name)
    with changing_settings(REMOTES_FILE):
        document = _read()
        remotes = {key: url for key, url in document.remotes.items() if key != name}
        policies = {key: policy for key, policy in document.policies.items() if key != name}
        default = HUB_REMOTE if document.default == name else document.default
        _write(_Document(default=default, remotes=remotes, policies=policies))


def set_default_remote(name: str) -> Remote:
    """Choose the remote for references that name none.

    Raises:
        InputError: There is none of that name.
    """
    remote = find_remote(name)
    with changing_settings(REMOTES_FILE):
        _write(_read().model_copy(update={"default": name}))
    return remote


def find_policy(name: str | None) -> Policy:
    """The policy of a remote, or of the default one; without one, nothing is asked for.

    Raises:
        InputError: There is no such remote.
    """
    return _read().policies.get(find_remote(name).name, Policy())


def set_policy(name: str | None, policy: Policy) -> Policy:
    """Let a remote, or the default one, have a policy.

    Raises:
        InputError: There is no such remote.
    """
    remote = find_remote(name)
    with changing_settings(REMOTES_FILE):
        document = _read()
        policies = {key: value for key, value in document.policies.items() if key != remote.name}
        if policy != Policy():
            policies[remote.name] = policy
        _write(document.model_copy(update={"policies": policies}))
    return policy


def check_url(url: str) -> str:
    """Return the address of a remote without its trailing slash.

    Raises:
        InputError: It is no plain http or https URL.
    """
    try:
        parts = urlsplit(url)
        has_port = parts.port is None or parts.port > 0
    except ValueError as error:
        raise InputError(f"{url!r} is no address: {error}") from error
    if parts.scheme not in {"http", "https"} or not parts.hostname or not has_port or any(c.isspace() for c in url):
        raise InputError(f"{url!r} is no address of a remote: write http://host:port or https://host")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise InputError("the address of a remote must not hold a user, a password, '?' or '#': use 'petapter login'")
    return url.rstrip("/")


def is_unencrypted(remote: Remote) -> bool:
    """Whether tokens for a remote would cross a network in the open."""
    parts = urlsplit(remote.url)
    host = parts.hostname or ""
    is_here = host in {"localhost", "::1"} or host.startswith("127.")
    return parts.scheme == "http" and not is_here


def variable_suffix(name: str) -> str:
    """The remote's name as it occurs in PETAPTER_TOKEN_<NAME>: no two remotes may share it."""
    return name.upper().replace("-", "_")


def _refuse_taken(remote: Remote, document: _Document) -> None:
    if document.remotes.get(remote.name) == remote.url:
        return
    for name in (HUB_REMOTE, *document.remotes):
        if variable_suffix(name) == variable_suffix(remote.name):
            known = document.remotes.get(name, HUB_URL)
            raise InputError(
                f"there is a remote {name!r} already ({known}): choose another name"
                + ("" if name == HUB_REMOTE else f" or run 'petapter remote remove {name}' first")
            )


def _path() -> Path:
    return config_directory() / REMOTES_FILE


def _read() -> _Document:
    return read_settings(_path(), _Document(), remedy="correct it or delete it")


def _write(document: _Document) -> None:
    text = document.model_dump_json(indent=2, exclude=None if document.policies else {"policies"})
    write_file_durably(_path(), text.encode() + b"\n")
