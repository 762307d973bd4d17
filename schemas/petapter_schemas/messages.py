"""Turns pydantic's reports into the one line a user needs."""

import re

from pydantic import ValidationError

_TOO_FEW = re.compile(r"Tuple should have at least (\d+) items? after validation, not (\d+)")
_MAX_KEY_CHARACTERS = 80


def first_problem(error: ValidationError) -> str:
    """Where the first problem is, what it is, and how many more there are."""
    problems = error.errors(include_url=False, include_context=False)
    first = problems[0]
    where = ".".join(_shown(str(part)) for part in first["loc"])
    message = _TOO_FEW.sub(r"needs at least \1 entries, has \2", first["msg"].removeprefix("Value error, "))
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"{where}: {message}{more}" if where else f"{message}{more}"


def _shown(part: str) -> str:
    """A key as the file has it, unless it would write control characters or pages into the message."""
    return part if len(part) <= _MAX_KEY_CHARACTERS and part.isprintable() else f"{part[:_MAX_KEY_CHARACTERS]!r}"
