"""Named places on the way of a commit where a test may end the process; elsewhere nothing happens there."""

from collections.abc import Callable
from typing import Literal

Place = Literal[
    "received",  # the files lie in scratch, hashed
    "examined",  # the tree was checked
    "synced",  # one file is on disk and has not its lasting name (local blobs only)
    "renamed",  # one file has its lasting name, which may not be on disk yet (local blobs only)
    "promoted",  # all files are stored
    "locked",  # the transaction has begun
    "held",  # the rows of the files are promised in it
    "inserted",  # the commit is in it, and the branch moved
    "committed",  # the transaction is done, and nobody was told
]
Reached = Callable[[Place], None]


def nothing(place: Place) -> None:
    """Go on."""
    del place
