"""JSON as the format allows it: UTF-8, no duplicate keys at any level, finite numbers, whole characters, a size limit.

Two parsers that disagree on a duplicate key can be shown two different modules in one file (the safetensors audit
of 2023 lists this as TOB-SFTN-7), so a duplicate is an error here, everywhere.
"""

import hashlib
import json
import math
from collections.abc import Sequence
from typing import NoReturn

from petapter_schemas.errors import ManifestError

MAX_JSON_BYTES = 256 * 1024
MAX_DEPTH = 32

_SHOWN = 80


def loads(data: bytes, *, source: str, max_bytes: int = MAX_JSON_BYTES) -> object:
    """Parse strict JSON.

    Args:
        data: The raw bytes.
        source: The name of the file, for messages.
        max_bytes: Longer input is refused before it is parsed.

    Raises:
        ManifestError: The bytes are too long, too deep, not UTF-8, not JSON, or hold a duplicate key, a number that is
            not finite, a negative zero, or half of a surrogate pair.
    """
    if len(data) > max_bytes:
        raise ManifestError(f"{source} has {len(data)} bytes, more than the {max_bytes} allowed")
    try:
        value: object = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_refuse_duplicates,
            parse_constant=_refuse_constant,
            parse_float=_finite_float,
            parse_int=_plain_int,
        )
        check_depth(value)
        # decoded UTF-8 itself holds no surrogates; only an escape can make one, and one byte is found 70 times as fast
        if b"\\" in data and b"\\u" in data:
            _refuse_half_characters(value)
    except RecursionError:
        raise ManifestError(f"{source} is nested too deeply") from None
    except ValueError as error:
        raise ManifestError(f"{source} is no strict JSON: {error}") from error
    return value


def check_version(document: object, *, source: str, what: str) -> None:
    """Refuse a document of another format version than 1, before anything else of it is judged.

    Args:
        document: The parsed file.
        source: Its name, for messages.
        what: What it should be.

    Raises:
        ManifestError: It has no version, or a later one.
    """
    version = document.get("schema_version") if isinstance(document, dict) else None
    if type(version) is not int:
        raise ManifestError(f"{source} is no {what}: it has no schema_version")
    if version > 1:
        raise ManifestError(f"{source} has format version {version}; this petapter reads 1: upgrade petapter")


def check_depth(value: object, depth: int = 0) -> None:
    """Refuse values nested deeper than MAX_DEPTH.

    Raises:
        ValueError: The value is nested too deeply.
    """
    if depth > MAX_DEPTH:
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for item in inner:
        if isinstance(item, dict | list):
            check_depth(item, depth + 1)


def canonical(value: object) -> bytes:
    """The one byte form of a JSON value: sorted keys, no spaces, UTF-8; what digests are taken over."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode("utf-8")


def canonical_sha256(value: object) -> str:
    """Hex sha256 of `canonical(value)`."""
    return hashlib.sha256(canonical(value)).hexdigest()


def _refuse_duplicates(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    seen = dict(pairs)
    if len(seen) < len(pairs):
        keys = [key for key, _ in pairs]
        repeated = next(key for position, key in enumerate(keys) if key in keys[:position])
        raise ValueError(f"duplicate key {repeated[:_SHOWN]!r}")
    return seen


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _finite_float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:_SHOWN]} is too large for a number")
    return number


def _plain_int(text: str) -> int:
    if text == "-0":  # an integer here, a float elsewhere: two readers would disagree
        raise ValueError("-0 is no integer")
    return int(text)


def _refuse_half_characters(value: object) -> None:
    if isinstance(value, str):
        value.encode("utf-8")  # raises UnicodeEncodeError, a ValueError
    elif isinstance(value, dict):
        for key, item in value.items():
            key.encode("utf-8")
            _refuse_half_characters(item)
    elif isinstance(value, list):
        for item in value:
            _refuse_half_characters(item)
