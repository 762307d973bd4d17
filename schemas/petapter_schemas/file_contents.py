"""Whether a file is what its name says: text that is text, JSON that is strict JSON, pictures that are pictures.

An archive or a pickle under a harmless name would wait on a registry for a program that opens it by its content.
"""

from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath

from petapter_schemas import strict_json
from petapter_schemas.errors import ManifestError

MAX_TEXT_BYTES = 1 << 20
MAX_CARD_BYTES = 256 * 1024
MAX_PICTURE_BYTES = 8 << 20

_PNG_BEGIN = b"\x89PNG\r\n\x1a\n"
_PNG_END = b"\x00\x00\x00\x00IEND\xaeB`\x82"


def check_content(path: str, location: Path, size: int) -> None:
    """Check a file against its suffix.

    Args:
        path: Its name inside the module.
        location: Where its bytes lie.
        size: How many they are.

    Raises:
        ManifestError: The suffix is not allowed, or the bytes are too many or something else.
    """
    check = _CHECKS.get(suffix(path))
    if check is None:
        raise ManifestError(f"{path} is not allowed in a module: only {', '.join(sorted(ALLOWED_SUFFIXES))}")
    check(path, location, size)


def suffix(path: str) -> str:
    """The last suffix in lower case, with its dot."""
    return PurePosixPath(path).suffix.lower()


def _anything(path: str, location: Path, size: int) -> None:
    """Weights: the safetensors header check is stricter than any look at the first bytes."""


def _json(path: str, location: Path, size: int) -> None:
    strict_json.loads(_read(path, location, size, strict_json.MAX_JSON_BYTES), source=path)


def _card(path: str, location: Path, size: int) -> None:
    _check_text(path, _read(path, location, size, MAX_CARD_BYTES))


def _text(path: str, location: Path, size: int) -> None:
    _check_text(path, _read(path, location, size, MAX_TEXT_BYTES))


def _check_text(path: str, data: bytes) -> None:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ManifestError(f"{path} is no text: byte {error.start} is not UTF-8") from error
    if "\0" in text:
        raise ManifestError(f"{path} is no text: it holds a NUL character")


def _picture(path: str, location: Path, size: int) -> None:
    data = _read(path, location, size, MAX_PICTURE_BYTES)
    if not data.startswith(_PNG_BEGIN) or not data.endswith(_PNG_END):
        raise ManifestError(f"{path} is no PNG picture, or something is appended to it")


def _read(path: str, location: Path, size: int, max_bytes: int) -> bytes:
    if size > max_bytes:
        raise ManifestError(f"{path} has {size} bytes, more than the {max_bytes} allowed")
    return location.read_bytes()


_CHECKS: Mapping[str, Callable[[str, Path, int], None]] = {
    ".safetensors": _anything,
    ".json": _json,
    ".md": _card,
    ".txt": _text,
    ".csv": _text,
    ".svg": _text,
    ".png": _picture,
}

ALLOWED_SUFFIXES = frozenset(_CHECKS)
"""What a module may hold: weights, JSON, words, small tables, plots. Never pickles or archives."""
