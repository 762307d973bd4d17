"""Every setting of the registry: the command line, then the environment (`PETAPTER_REGISTRY_…`), then a TOML file."""

import ipaddress
import os
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from petapter_registry_server.settings_file import SettingsFile
from petapter_schemas.errors import InputError
from petapter_schemas.evaluation_result import DEFAULT_TOLERANCE
from petapter_schemas.messages import first_problem

MIB = 1 << 20
_PREFIX = "PETAPTER_REGISTRY_"


def _networks(text: str) -> tuple[IPv4Network | IPv6Network, ...]:
    return tuple(ipaddress.ip_network(part.strip()) for part in text.split(",") if part.strip())


def _check_networks(text: str) -> str:
    _networks(text)
    return text


class Place(BaseSettings):
    """Where one registry is: what commands beside the server need to know.

    Attributes:
        config: A TOML file that holds settings by their names here; it cannot name another one.
        data: The data directory; `serve` makes it when it is missing.
        database: URL of a PostgreSQL database, which may hold a password. Unset, a SQLite file in the data directory.
        blobs: Where the bytes of files lie: `s3://bucket` or `s3://bucket/prefix`; unset, in the data directory.
    """

    model_config = SettingsConfigDict(env_prefix=_PREFIX, frozen=True)

    config: Path | None = None
    data: Path | None = None
    database: SecretStr | None = None
    blobs: str | None = None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What is given, then the environment, then the file; the other two are of no use here."""
        del dotenv_settings, file_secret_settings
        return init_settings, env_settings, SettingsFile(settings_cls, Settings.model_fields.keys() - {"config"})


class Settings(Place):
    """How one registry process runs: its place, and

    Attributes:
        database_connections: The most connections that this process opens to PostgreSQL.
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.
        anonymous_read: Whether callers without a token may read public repositories. Unset, they may exactly when
            `host` is a loopback address.
        trusted_proxies: Addresses and networks of proxies in front, with commas between them, whose X-Forwarded-Proto,
            -Host and -For are believed.
        max_file_bytes: Larger files are refused.
        max_inline_bytes: Larger files travel apart from the commit, by LFS or Xet.
        max_commit_bytes: Limit of the body of one commit; file contents travel in base64, a third longer than they are.
        max_tree_files: Limit of files in one commit's tree.
        rate_limits: Whether requests are counted. Unset, they are unless `host` is a loopback address.
        rate_limit_user: Requests that a user may send in five minutes.
        rate_limit_address: Requests that an address may send in five minutes without a token.
        quota_bytes: Bytes that a namespace may hold, each content once, unless it has a quota of its own.
        quota_repositories: Repositories that a namespace may hold, likewise.
        oidc_issuer: The identity provider that people sign in with, by its address; unset, they show tokens alone.
        oidc_client_id: What the provider calls this registry.
        oidc_client_secret: What the provider knows this registry by; unset, as the file says, or it has none.
        oidc_client_secret_file: File that holds nothing but that secret.
        oidc_label: What the button calls the provider; unset, the host of the issuer.
        oidc_scopes: What the registry asks the provider for, separated by spaces.
        oidc_name_claim: The claim that names a user whom a sign-in makes.
        oidc_create_users: Whether somebody whom nobody here is linked with becomes a user by signing in.
        oidc_email_domains: Domains of the verified e-mail addresses that those must have, separated by commas.
        oidc_required_claim: `NAME=VALUE`, a claim that those must have, or a value of it, such as a group.
        oidc_loopback: Whether issuers, of people and of programs, may be on this machine, by plain http.
        webhook_interval_s: Seconds between two looks for events that wait for webhooks; 0 sends none.
        webhook_loopback: Whether webhooks may lead to this machine, by plain http.
        upstream: Address of another Hub, whose public repositories this server fetches for its callers; unset, none.
        redirect_above_bytes: Downloads of larger files are sent to a presigned address of the object store; unset,
            all bytes pass through the registry.
        direct_uploads: Whether clients send large files that come by LFS to the object store themselves, to a place
            where the registry alone reads.
        direct_uploads_key_id: A key of the object store that addresses for this are signed with; unset, that of the
            environment.
        direct_uploads_secret: Its secret.
        gc_interval_s: Seconds between two garbage collections; 0 is never.
        gc_grace_s: How long a blob must have been there before it may be condemned, and stays when it is condemned.
        evaluation_tolerance: By how much a figure that is measured again may differ from the declared one.
        worker_backbones: Directory below which a worker finds backbones.
        worker_key: File of the private key that a worker signs with.
        worker_isolation: `namespaces` keeps measuring processes from the network; `none` does not.
        worker_timeout_s: How long a measuring process may take.
        worker_memory_bytes: How much memory (address space) it may take.
        worker_threads: With how many threads it computes.
    """

    data: Path
    database_connections: int = Field(default=20, ge=2)
    host: str = "127.0.0.1"
    port: int = Field(default=8470, ge=0, le=65535)
    anonymous_read: bool | None = None
    trusted_proxies: Annotated[str, AfterValidator(_check_networks)] = ""
    max_file_bytes: int = Field(default=1024 * MIB, ge=1)
    max_inline_bytes: int = Field(default=10 * MIB, ge=1)
    max_commit_bytes: int = Field(default=512 * MIB, ge=1)
    max_tree_files: int = Field(default=1000, ge=1)
    rate_limits: bool | None = None
    rate_limit_user: int = Field(default=6000, ge=1)
    rate_limit_address: int = Field(default=1500, ge=1)
    quota_bytes: int | None = Field(default=None, ge=0)
    quota_repositories: int | None = Field(default=None, ge=0)
    oidc_issuer: str | None = None
    oidc_client_id: str | None = None
    oidc_client_secret: SecretStr | None = None
    oidc_client_secret_file: Path | None = None
    oidc_label: str | None = None
    oidc_scopes: str = "openid profile email"
    oidc_name_claim: str = "preferred_username"
    oidc_create_users: bool = False
    oidc_email_domains: str | None = None
    oidc_required_claim: str | None = None
    oidc_loopback: bool = False
    webhook_interval_s: float = Field(default=2, ge=0)
    webhook_loopback: bool = False
    upstream: str | None = None
    redirect_above_bytes: int | None = Field(default=None, ge=0)
    direct_uploads: bool = False
    direct_uploads_key_id: str | None = None
    direct_uploads_secret: SecretStr | None = None
    gc_interval_s: float = Field(default=3600, ge=0)
    gc_grace_s: float = Field(default=86400, ge=0)
    evaluation_tolerance: float = Field(default=DEFAULT_TOLERANCE, ge=0, le=1)
    worker_backbones: Path | None = None
    worker_key: Path | None = None
    worker_isolation: Literal["namespaces", "none"] = "namespaces"
    worker_timeout_s: float = Field(default=1800, gt=0)
    worker_memory_bytes: int = Field(default=8192 * MIB, ge=64 * MIB)
    worker_threads: int = Field(default=1, ge=1)

    @property
    def anonymous_may_read(self) -> bool:
        """`anonymous_read`, or whether only this machine can reach the registry."""
        return self.is_loopback if self.anonymous_read is None else self.anonymous_read

    @property
    def proxies(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """`trusted_proxies` as networks; a single address is one."""
        return _networks(self.trusted_proxies)

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the registry."""
        return _is_loopback(self.host)

    @property
    def user_rate(self) -> int | None:
        """`rate_limit_user` where requests are counted."""
        return self.rate_limit_user if self._counts else None

    @property
    def address_rate(self) -> int | None:
        """`rate_limit_address` where requests are counted."""
        return self.rate_limit_address if self._counts else None

    @property
    def _counts(self) -> bool:
        return not _is_loopback(self.host) if self.rate_limits is None else self.rate_limits


Read = TypeVar("Read", bound=Place)


def read_settings(given: Mapping[str, object]) -> Settings:
    """What the command line gives, then the environment, then the settings file, then the defaults.

    Raises:
        InputError: A value is none that the setting can have, the file cannot be used, or there is no data directory.
    """
    return _read(Settings, given)


def read_place(given: Mapping[str, object]) -> Place:
    """As `read_settings`, where commands need the place alone. Raises: InputError."""
    return _read(Place, given)


def _read(kind: type[Read], given: Mapping[str, object]) -> Read:
    """Options that were not given are None, and leave the word to the next source."""
    said = {name: value for name, value in given.items() if value is not None}
    try:
        return kind.model_validate(said)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_context=False)[0]
        name = str(problem["loc"][0])
        if problem["type"] == "missing":
            raise InputError(f"which data directory? Give --data DIR, {_PREFIX}DATA, or 'data' in --config") from error
        raise InputError(f"setting {first_problem(error)}{_source(name, said)}") from error


def _source(name: str, given: Mapping[str, object]) -> str:
    """Where a wrong value stands, when that is not the command line."""
    if name in given:
        return ""
    variable = f"{_PREFIX}{name.upper()}"
    return f" ({variable})" if variable in os.environ else " (in the settings file)"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
