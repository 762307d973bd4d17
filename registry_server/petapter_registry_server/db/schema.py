"""The version of the tables: what the database has, what this code knows, and the steps from one to the other."""

from functools import cache
from pathlib import Path
from typing import Literal

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

_MIGRATIONS = Path(__file__).parent / "migrations"

Standing = Literal["current", "behind", "newer"]


def standing(connection: Connection) -> Standing:
    """Where the tables stand: `newer` when a later version of the code has been here."""
    known = revisions()
    found = MigrationContext.configure(connection).get_current_heads()
    if not set(found) <= set(known):
        return "newer"
    return "current" if found == known[-1:] else "behind"


def upgrade(connection: Connection, revision: str = "head") -> None:
    """Run the missing steps inside the connection's transaction."""
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


@cache
def revisions() -> tuple[str, ...]:
    """All versions, the first one first; they follow each other without branches."""
    scripts = ScriptDirectory.from_config(_config()).walk_revisions()
    return tuple(script.revision for script in scripts)[::-1]


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config
