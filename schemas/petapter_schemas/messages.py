"""Turns pydantic's reports into the one line a user needs."""

from pydantic import ValidationError


def first_problem(error: ValidationError) -> str:
    """Where the first problem is, what it is, and how many more there are."""
    problems = error.errors(include_url=False, include_context=False)
    first = problems[0]
    where = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"{where}: {message}{more}" if where else f"{message}{more}"
