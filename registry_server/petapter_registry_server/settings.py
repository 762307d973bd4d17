"""Every setting of the registry, read from the environment (`PETAPTER_REGISTRY_…`) or given by the command line."""

import ipaddress
from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

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

    @property
    def anonymous_may_read(self) -> bool:
        """`anonymous_read`, or whether only this machine can reach the registry."""
        return _is_loopback(self.host) if self.anonymous_read is None else self.anonymous_read

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


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
