"""Patterns of repositories, `team/name` or `team/*`: what one covers, and which covers which."""

from petapter_registry_server.errors import InvalidRequestError
from petapter_schemas.names import check_namespace, split_repo_id

_ALL = "*"


def check_pattern(pattern: str) -> str:
    """Return a pattern unchanged when it is one.

    Raises:
        InvalidRequestError: It is none.
        InvalidNameError: The namespace or the name in it breaks the rules.
    """
    namespace, slash, name = pattern.partition("/")
    if not slash:
        raise InvalidRequestError(f"{pattern!r} is no pattern of repositories: write team/name or team/*")
    if name == _ALL:
        check_namespace(namespace)
    else:
        split_repo_id(pattern)
    return pattern


def covers(pattern: str | None, repo_id: str) -> bool:
    """Whether a pattern covers a repository, or every repository that another pattern covers; None covers all."""
    if pattern is None:
        return True
    namespace, _, name = pattern.lower().partition("/")
    return repo_id.lower().startswith(f"{namespace}/") if name == _ALL else repo_id.lower() == pattern.lower()


def whole_namespace(namespace: str) -> str:
    """The pattern of everything in a namespace."""
    return f"{namespace}/{_ALL}"
