"""What a PostgreSQL server says of itself that matters to a registry."""

from dataclasses import dataclass

from sqlalchemy import Connection

_LOSES = ("fsync", "full_page_writes", "synchronous_commit")
"""Switches that, turned off, let PostgreSQL acknowledge what a crash can lose."""

_QUESTION = (
    "SELECT current_setting('server_version'),"
    " pg_is_in_recovery() OR current_setting('default_transaction_read_only')::bool,"
    " current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int,"
    " (extract(epoch FROM clock_timestamp()) * 1000)::bigint"
)


@dataclass(frozen=True)
class Health:
    """`connections` is how many ordinary clients may open together; `now_ms` is the server's time."""

    version: str
    takes_writes: bool
    forgetful: tuple[str, ...]
    connections: int
    now_ms: int


def ask_health(connection: Connection) -> Health:
    """Ask the server behind a connection to PostgreSQL."""
    off = tuple(name for name in _LOSES if connection.exec_driver_sql(f"SHOW {name}").scalar_one() == "off")
    version, refuses_writes, connections, now_ms = connection.exec_driver_sql(_QUESTION).one()
    return Health(version, not refuses_writes, off, connections, now_ms)
