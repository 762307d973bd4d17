"""JSON as the format allows it: UTF-8, no duplicate keys at any level, no NaN or infinity, a size limit.

Two parsers that disagree on a duplicate key can be shown two different modules in one file (the safetensors audit
of 2023 lists this as TOB-SFTN-7), so a duplicate is an error here, everywhere.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import NoReturn

from petapter_schemas.errors import ManifestError

MAX_JSON_BYTES = 256 * 1024
MAX_DEPTH = 32


def loads(data: bytes, *, source: str, max_bytes: int = MAX_JSON_BYTES) -> object:
    """Parse strict JSON.

    Args:
        data: The raw bytes.
        source: The name of the file, for messages.
        max_bytes: Longer input is refused before it is parsed.

    Raises:
        ManifestError: The bytes are too long, too deep, not UTF-8, not JSON, or hold a duplicate key or a NaN.
    """
    if len(data) > max_bytes:
        raise ManifestError(f"{source} has {len(data)} bytes, more than the {max_bytes} allowed")
    try:
        value: object = json.loads(
            data.decode("utf-8"), object_pairs_hook=_refuse_duplicates, parse_constant=_refuse_constant
        )
        check_depth(value)
    except RecursionError:
        raise ManifestError(f"{source} is nested too deeply") from None
    except ValueError as error:
        raise ManifestError(f"{source} is no strict JSON: {error}") from error
    return value


def check_depth(value: object, depth: int = 0) -> None:
    """Refuse values nested deeper than MAX_DEPTH.

    Raises:
        ValueError: The value is nested too deeply.
    """
    if depth > MAX_DEPTH:
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for item in inner:
        check_depth(item, depth + 1)


def canonical(value: object) -> bytes:
    """The one byte form of a JSON value: sorted keys, no spaces, UTF-8; what digests are taken over."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode("utf-8")


def canonical_sha256(value: object) -> str:
    """Hex sha256 of `canonical(value)`."""
    return hashlib.sha256(canonical(value)).hexdigest()


def _refuse_duplicates(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    seen: dict[str, object] = {}
    for key, value in pairs:
        if key in seen:
            raise ValueError(f"duplicate key {key!r}")
        seen[key] = value
    return seen


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")
