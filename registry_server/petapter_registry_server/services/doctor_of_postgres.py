"""What the doctor asks of PostgreSQL: can it hold a registry, does it take writes and keep them, is it large enough."""

from collections.abc import Iterator

from petapter_registry_server.clock import now_ms
from petapter_registry_server.db import schema
from petapter_registry_server.db.engine import Database
from petapter_registry_server.db.postgres_health import Health, ask_health
from petapter_registry_server.errors import DatabaseUnavailableError, DataDirectoryError
from petapter_registry_server.services.finding import Finding
from petapter_registry_server.settings import Settings

_SKEW_MS = 5000


def examine_postgres(database: Database, settings: Settings) -> Iterator[Finding]:
    """Ask the server that a database lies on; nothing is changed."""
    try:
        standing = database.examine()
        with database.engine.connect() as connection:
            health = ask_health(connection)
    except (DataDirectoryError, DatabaseUnavailableError) as error:
        yield Finding("failure", "database", str(error))
        return
    yield _tables(database.name, health.version, standing)
    yield _writes(health)
    yield _connections(health, settings.database_connections)
    yield _clock(health)


def _tables(name: str, version: str, standing: schema.Standing) -> Finding:
    newest = schema.revisions()[-1]
    if standing == "behind":
        return Finding("warning", "database", f"{name} has older tables; the next start brings them to {newest}")
    return Finding("ok", "database", f"{name} on PostgreSQL {version}, tables of version {newest}")


def _writes(health: Health) -> Finding:
    if not health.takes_writes:
        return Finding(
            "failure", "writes", "a standby or read-only server: name the primary, or add its host to the URL"
        )
    if health.forgetful:
        off = ", ".join(health.forgetful)
        return Finding("failure", "writes", f"{off} off: a crash loses what was acknowledged; turn it on")
    return Finding("ok", "writes", "taken, and durable when acknowledged")


def _connections(health: Health, wanted: int) -> Finding:
    text = f"{health.connections} for all clients, {wanted} for each server"
    if wanted > health.connections:
        return Finding("failure", "connections", f"{text}: lower database_connections, or raise max_connections")
    return Finding("ok", "connections", text)


def _clock(health: Health) -> Finding:
    skew = abs(health.now_ms - now_ms())
    if skew > _SKEW_MS:
        return Finding(
            "warning",
            "clock",
            f"{skew // 1000} s between this machine and PostgreSQL's: let both follow one time server",
        )
    return Finding("ok", "clock", "that of the database")
