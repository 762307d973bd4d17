"""The PostgreSQL database: its address, how connections are configured, and the lock by which writers take turns.

Reads are REPEATABLE READ and read-only: one snapshot, and never a serialization failure. A write is READ COMMITTED and
takes one advisory lock as its first statement, held to its end: every later statement sees what all writers before it
committed, whichever replica they belong to. That is what SQLite's BEGIN IMMEDIATE gives, so services are written once.
"""

from collections.abc import Mapping

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine.interfaces import ExceptionContext
from sqlalchemy.exc import ArgumentError

from petapter_registry_server.db.postgres_watch import Watch
from petapter_registry_server.errors import DataDirectoryError
from petapter_schemas.errors import InputError

_DRIVER = "postgresql+psycopg"
_SCHEMES = ("postgresql", "postgres", _DRIVER)
_MIN_VERSION = 130_000

# Both locks lie in PostgreSQL's space of advisory locks, which each database has for itself.
_WRITERS_LOCK = 0x7065_7461_0001
_MIGRATION_LOCK = 0x7065_7461_0002

_CONNECT_TIMEOUT_S = 5
_POOL_TIMEOUT_S = 10
_TIMEOUTS = {
    "statement_timeout": "30s",
    "lock_timeout": "10s",
    "idle_in_transaction_session_timeout": "30s",  # a replica that hangs in a write must not stop the others for ever
}
_KEEPALIVES = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 30_000}
_MIGRATION_WAIT = "10min"

# read_only_sql_transaction, admin_shutdown, crash_shutdown: the server behind this connection is no primary any more
_GONE = frozenset({"25006", "57P01", "57P02"})


class PostgreSQL:
    """A database that several replicas share."""

    def __init__(self, address: str, *, connections: int) -> None:
        """`address` is a URL such as `postgresql+psycopg://user@host/name`; `connections` is the most to open.

        Raises:
            InputError: The address is no URL of a PostgreSQL database.
        """
        self._url = _read_address(address)
        self._connections = connections
        self.name = f"the PostgreSQL database {self._url.database!r}"
        self.file = None
        self._watch: Watch | None = None

    def open(self) -> Engine:
        """An engine; what its transactions are for is said by `options`.

        Raises:
            InputError: The driver is not installed.
        """
        arguments = _connect_arguments(self._url)
        try:
            engine = create_engine(
                self._url,
                pool_size=max(self._connections - 1, 1),  # one is the watch's
                max_overflow=0,
                pool_timeout=_POOL_TIMEOUT_S,
                pool_pre_ping=True,  # after a fail-over a request finds out here, and takes a fresh connection
                connect_args=arguments,
                hide_parameters=True,
            )
        except ModuleNotFoundError as error:
            raise InputError("PostgreSQL needs a driver: pip install 'petapter[scale]'") from error
        event.listen(engine, "begin", _begin)
        event.listen(engine, "handle_error", _drop_connections_to_a_former_primary)
        self._watch = Watch(engine, arguments)
        return engine

    def options(self, purpose: str) -> Mapping[str, str | bool]:
        """Isolation and lock, as the first lines of this file say."""
        if purpose == "read":
            return {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        return {"isolation_level": "READ COMMITTED", "takes_lock": purpose}

    def check(self, connection: Connection) -> None:
        """Refuse a database that would sort or store text in another way than SQLite.

        Raises:
            DataDirectoryError: The server is too old, or the database has another encoding or collation.
        """
        version, encoding, sorts_by_bytes = connection.exec_driver_sql(
            "SELECT current_setting('server_version_num')::int, pg_encoding_to_char(encoding), 'Z' < 'a'"
            " FROM pg_database WHERE datname = current_database()"
        ).one()
        if version < _MIN_VERSION:
            raise DataDirectoryError(f"{self.name} is served by PostgreSQL {version // 10_000}: 13 or newer is needed")
        if encoding != "UTF8" or not sorts_by_bytes:
            found = "sorts text by a language" if encoding == "UTF8" else f"has the encoding {encoding}"
            raise DataDirectoryError(
                f"{self.name} {found}: make one with"
                " CREATE DATABASE … TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'"
            )

    def state(self) -> str | None:
        """Which transactions a read that begins now would see."""
        return None if self._watch is None else self._watch.state()

    async def state_soon(self) -> str | None:
        """As `state`; all who ask while an answer is on its way get the next one."""
        return None if self._watch is None else await self._watch.state_soon()

    def close(self) -> None:
        """Close the connection that watches."""
        if self._watch is not None:
            self._watch.close()


def _read_address(address: str) -> URL:
    try:
        url = make_url(address)
    except (ArgumentError, ValueError):
        url = None
    if url is None or url.drivername not in _SCHEMES or not url.database:
        # "from None" and no quoting: the address may hold a password
        raise InputError("the database must be given as postgresql+psycopg://user@host/name") from None
    return url.set(drivername=_DRIVER)


def _connect_arguments(url: URL) -> dict[str, object]:
    """What the address does not say itself."""
    own = url.query.get("options", "")
    options = " ".join([*(f"-c {name}={value}" for name, value in _TIMEOUTS.items()), str(own)]).strip()
    defaults: dict[str, object] = {
        "connect_timeout": _CONNECT_TIMEOUT_S,
        "application_name": "petapter-registry",
        "client_encoding": "utf8",  # psycopg gives bytes for text where the database's own encoding is SQL_ASCII
        **_KEEPALIVES,
    }
    return {name: value for name, value in defaults.items() if name not in url.query} | {"options": options}


def _begin(connection: Connection) -> None:
    lock = connection.get_execution_options().get("takes_lock")
    if lock == "write":
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITERS_LOCK})")
    if lock == "migration":
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{_MIGRATION_WAIT}'")
        connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})")
        # a step that waits for a table keeps every later request for it waiting: rather fail, and be started again
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{_TIMEOUTS['lock_timeout']}'")


def _drop_connections_to_a_former_primary(context: ExceptionContext) -> None:
    if getattr(context.original_exception, "sqlstate", None) in _GONE:
        context.is_disconnect = True
