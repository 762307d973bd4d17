"""How a digest becomes the name of a blob, `sha256/ab/cd/<hex>`, and back."""

import re

_HEX = re.compile(r"[0-9a-f]{64}")


def blob_name(sha256: str) -> str:
    """The path of a blob below the place of all blobs.

    Raises:
        ValueError: The digest is none; a name from outside must never reach a disk.
    """
    if not _HEX.fullmatch(sha256):
        raise ValueError(f"{sha256[:80]!r} is no sha256 in hex")
    return f"sha256/{sha256[:2]}/{sha256[2:4]}/{sha256}"


def digest_of(name: str) -> str | None:
    """The digest that a path names; None for a path that is no blob's."""
    digest = name.rpartition("/")[2]
    return digest if _HEX.fullmatch(digest) and name.endswith(blob_name(digest)) else None
