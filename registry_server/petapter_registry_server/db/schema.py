"""The version of the tables: what the database has, what this code knows, and the steps from one to the other."""

from functools import cache
from pathlib import Path
from typing import Literal

from sqlalchemy import Connection, inspect

_MIGRATIONS = Path(__file__).parent / "migrations"
_NOTED_IN = "alembic_version"

Standing = Literal["current", "behind", "newer"]


def standing(connection: Connection) -> Standing:
    """Where the tables stand: `newer` when a later version of the code has been here."""
    known = revisions()
    there = inspect(connection).has_table(_NOTED_IN)
    found = tuple(connection.exec_driver_sql(f"SELECT version_num FROM {_NOTED_IN}").scalars()) if there else ()  # noqa: S608
    if not set(found) <= set(known):
        return "newer"
    return "current" if found == known[-1:] else "behind"


def upgrade(connection: Connection, revision: str = "head") -> None:
    """Run the missing steps inside the connection's transaction."""
    from alembic import command  # noqa: PLC0415 (a tenth of a start, and only a database that is behind needs it)
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


@cache
def revisions() -> tuple[str, ...]:
    """All versions, the first one first; they follow each other without branches, as their files are named."""
    steps = (_MIGRATIONS / "versions").glob("v*_*.py")
    return tuple(sorted(step.name.removeprefix("v").partition("_")[0] for step in steps))
