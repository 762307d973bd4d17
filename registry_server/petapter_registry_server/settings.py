"""Every setting of the registry, read from the environment (`PETAPTER_REGISTRY_…`) or given by the command line."""

import ipaddress
from collections.abc import Mapping
from pathlib import Path

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from petapter_schemas.errors import InputError
from petapter_schemas.messages import first_problem

MIB = 1 << 20


class Settings(BaseSettings):
    """How one registry process runs.

    Attributes:
        data: The data directory; it is made when missing.
        database: URL of a PostgreSQL database, which may hold a password. Unset, a SQLite file in the data directory.
        database_connections: The most connections that this process opens to PostgreSQL.
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.
        anonymous_read: Whether callers without a token may read public repositories. Unset, they may exactly when
            `host` is a loopback address.
        max_file_bytes: Larger files are refused.
        max_inline_bytes: Larger files travel apart from the commit, by LFS or Xet.
        max_commit_bytes: Limit of the body of one commit; file contents travel in base64, a third longer than they are.
        max_tree_files: Limit of files in one commit's tree.
        rate_limits: Whether requests are counted. Unset, they are unless `host` is a loopback address.
        rate_limit_user: Requests that a user may send in five minutes.
        rate_limit_address: Requests that an address may send in five minutes without a token.
        quota_bytes: Bytes that a namespace may hold, each content once, unless it has a quota of its own.
        quota_repositories: Repositories that a namespace may hold, likewise.
        oidc_loopback: Whether issuers of trusted publishers may be on this machine, by plain http.
        blobs: Where the bytes of files lie: `s3://bucket` or `s3://bucket/prefix`; unset, in the data directory.
        redirect_above_bytes: Downloads of larger files are sent to a presigned address of the object store; unset,
            all bytes pass through the registry.
        gc_interval_s: Seconds between two garbage collections; 0 is never.
        gc_grace_s: How long a blob must have been there before it may be condemned, and stays when it is condemned.
    """

    model_config = SettingsConfigDict(env_prefix="PETAPTER_REGISTRY_", frozen=True)

    data: Path
    database: SecretStr | None = None
    database_connections: int = Field(default=20, ge=2)
    host: str = "127.0.0.1"
    port: int = Field(default=8470, ge=0, le=65535)
    anonymous_read: bool | None = None
    max_file_bytes: int = Field(default=1024 * MIB, ge=1)
    max_inline_bytes: int = Field(default=10 * MIB, ge=1)
    max_commit_bytes: int = Field(default=512 * MIB, ge=1)
    max_tree_files: int = Field(default=1000, ge=1)
    rate_limits: bool | None = None
    rate_limit_user: int = Field(default=6000, ge=1)
    rate_limit_address: int = Field(default=1500, ge=1)
    quota_bytes: int | None = Field(default=None, ge=0)
    quota_repositories: int | None = Field(default=None, ge=0)
    oidc_loopback: bool = False
    blobs: str | None = None
    redirect_above_bytes: int | None = Field(default=None, ge=0)
    gc_interval_s: float = Field(default=3600, ge=0)
    gc_grace_s: float = Field(default=86400, ge=0)

    @property
    def anonymous_may_read(self) -> bool:
        """`anonymous_read`, or whether only this machine can reach the registry."""
        return self.is_loopback if self.anonymous_read is None else self.anonymous_read

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


def read_settings(given: Mapping[str, object]) -> Settings:
    """What the command line gives, then the environment, then the defaults.

    Raises:
        InputError: A value is none that the setting can have.
    """
    try:
        return Settings.model_validate(given)
    except ValidationError as error:
        raise InputError(f"setting {first_problem(error)}") from error


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
