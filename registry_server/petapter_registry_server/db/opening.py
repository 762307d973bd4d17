"""Which database a process works on: the one that is named by a URL, or the SQLite file of its data directory."""

from contextlib import AbstractContextManager

from petapter_registry_server.data_directory import DataDirectory
from petapter_registry_server.db.engine import Database
from petapter_registry_server.db.postgres import PostgreSQL
from petapter_registry_server.errors import DataDirectoryError
from petapter_registry_server.settings import Place, Settings
from petapter_registry_server.writes import Writes
from petapter_schemas.errors import InputError

_CONNECTIONS_OF_A_COMMAND = 2


def hold_directory(settings: Settings) -> AbstractContextManager[None]:
    """Make the data directory when it is missing, and hold it: alone over SQLite, with others over PostgreSQL.

    Raises:
        DataDirectoryError: It cannot be made, or is on a file system where SQLite loses data, or is held by another.
    """
    directory = DataDirectory(settings.data)
    if settings.database is None:
        directory.create_for_sqlite()
        return directory.locked()
    directory.create()
    return directory.shared()


def open_database(settings: Settings, writes: Writes | None = None) -> Database:
    """The database of a server, with the tables of this version; it writes as long as `writes` are not stopped.

    Raises:
        InputError: The URL names no PostgreSQL database, or the driver is not installed.
        DataDirectoryError: It cannot be used, or a URL is given and the data directory holds a SQLite registry.
    """
    database = _database(settings, writes)
    try:
        database.migrate()
    except DataDirectoryError:
        database.close()
        raise
    return database


def open_existing(place: Place) -> Database:
    """The database that a command works on beside the server.

    Raises:
        InputError: Neither database nor data directory is given, or the URL names no PostgreSQL database.
        DataDirectoryError: The directory holds no registry.
    """
    if place.database is not None:
        return Database(PostgreSQL(place.database.get_secret_value(), connections=_CONNECTIONS_OF_A_COMMAND))
    if place.data is None:
        raise InputError("which registry? Give --data DIR, or --database URL for one on PostgreSQL, or --config FILE")
    file = DataDirectory(place.data).database
    if not file.is_file():
        raise DataDirectoryError(
            f"{place.data} is no data directory: start 'petapter-registry serve --data {place.data}' once"
        )
    return Database(file)


def _database(settings: Settings, writes: Writes | None) -> Database:
    directory = DataDirectory(settings.data)
    if settings.database is None:
        return Database(directory.database, writes)
    if directory.database.exists():
        raise DataDirectoryError(
            f"{settings.data} holds a registry of its own in {directory.database.name}: leave out the database to"
            " serve it, or choose another --data"
        )
    backend = PostgreSQL(settings.database.get_secret_value(), connections=settings.database_connections)
    return Database(backend, writes)
