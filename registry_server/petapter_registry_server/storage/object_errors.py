"""What obstore raises, as errors of the registry."""

from collections.abc import Iterator
from contextlib import contextmanager

from obstore.exceptions import BaseError

from petapter_registry_server.errors import StoreError


@contextmanager
def translated(deed: str) -> Iterator[None]:
    """A failure of the object store in one line, without the debug text that follows it."""
    try:
        yield
    except BaseError as error:
        cause = str(error).partition("\n")[0]
        raise StoreError(f"the object store could not {deed}: {cause}") from error
