"""Which names are allowed for namespaces, modules, labels and files; the same rules on client and server."""

import re
import unicodedata
from typing import Annotated

from pydantic import AfterValidator

from petapter_schemas.errors import InvalidNameError

RESERVED_NAMESPACES = frozenset(
    {"api", "buckets", "collections", "datasets", "health", "kernels", "metrics", "models", "oauth", "settings",
     "spaces", "static", "web"}
)  # fmt: skip
"""First path segments that the Hub's protocol or the registry use for themselves."""

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9])?")
_NAME_RULE = "use 1 to 96 ASCII letters, digits, '.', '_' or '-', beginning and ending with a letter or digit"
_MAX_SEGMENT_BYTES = 255
_MAX_PATH_BYTES = 1024
_DEVICE_NAMES = frozenset({"con", "prn", "aux", "nul"} | {f"{d}{n}" for d in ("com", "lpt") for n in range(1, 10)})


def check_name(name: str, *, what: str = "name") -> str:
    """Return a namespace or module name unchanged when it is allowed.

    Raises:
        InvalidNameError: It breaks the rules.
    """
    if not _NAME.fullmatch(name):
        raise InvalidNameError(f"{what} {name!r} is not allowed: {_NAME_RULE}")
    if "--" in name or ".." in name:
        raise InvalidNameError(f"{what} {name!r} is not allowed: '--' and '..' must not occur")
    if name.lower().endswith((".git", ".ipynb")):
        raise InvalidNameError(f"{what} {name!r} is not allowed: it must not end in .git or .ipynb")
    return name


def check_namespace(name: str) -> str:
    """Return a namespace unchanged when it is allowed.

    Raises:
        InvalidNameError: It breaks the rules or is reserved.
    """
    check_name(name, what="namespace")
    if name.lower() in RESERVED_NAMESPACES:
        raise InvalidNameError(f"namespace {name!r} is reserved: choose another one")
    return name


def split_repo_id(repo_id: str) -> tuple[str, str]:
    """Split `namespace/name`, checking both.

    Raises:
        InvalidNameError: It is not of that form, or a part breaks the rules.
    """
    namespace, slash, name = repo_id.partition("/")
    if not slash or "/" in name:
        raise InvalidNameError(f"{repo_id!r} is no module name: write namespace/name, for example team/intents")
    return check_namespace(namespace), check_name(name, what="module name")


def name_key(repo_id: str) -> str:
    """The key under which look-alike repository ids collide.

    Lower case, separators dropped, and the characters that readers confuse folded (l, i -> 1; o -> 0), as the Python
    Package Index does (`ultranormalize_name` in pypi/warehouse). The slash stays.
    """
    folded = re.sub(r"[._-]", "", repo_id.lower())
    return folded.translate(str.maketrans("lio", "110"))


def check_path(path: str) -> str:
    """Return a file path inside a module unchanged when it is safe on every file system.

    POSIX relative, NFC, no empty, `.` or `..` segment, no backslash, colon or control character, no trailing dot or
    space, no device name, at most 255 bytes per segment and 1,024 in all.

    Raises:
        InvalidNameError: It breaks the rules.
    """
    if not path or len(path.encode("utf-8", "surrogatepass")) > _MAX_PATH_BYTES:
        raise InvalidNameError(f"file path of {len(path)} characters is not allowed: use 1 to {_MAX_PATH_BYTES} bytes")
    if unicodedata.normalize("NFC", path) != path:
        raise InvalidNameError(f"file path {path!r} is not allowed: normalise it to Unicode NFC")
    if any(character in '\\:*?"<>|' or not character.isprintable() for character in path):
        raise InvalidNameError(f"file path {path!r} is not allowed: it holds a control or reserved character")
    for segment in path.split("/"):
        _check_segment(segment, path)
    return path


def _check_segment(segment: str, path: str) -> None:
    if segment in {"", ".", ".."}:
        raise InvalidNameError(f"file path {path!r} is not allowed: write a relative path without '.' or '..'")
    if segment[-1] in ". " or segment[0] == " ":
        raise InvalidNameError(f"file path {path!r} is not allowed: a part begins or ends with a space or dot")
    if segment.split(".", maxsplit=1)[0].lower() in _DEVICE_NAMES:
        raise InvalidNameError(f"file path {path!r} is not allowed: {segment!r} is a device name on Windows")
    if len(segment.encode("utf-8")) > _MAX_SEGMENT_BYTES:
        raise InvalidNameError(f"file path {path!r} is not allowed: a part is longer than {_MAX_SEGMENT_BYTES} bytes")


def check_label(name: str) -> str:
    """Return a label name unchanged when it is printable, NFC, trimmed, and 1 to 200 characters long.

    Raises:
        ValueError: It breaks the rules.
    """
    if not 1 <= len(name) <= 200 or name != name.strip() or not name.isprintable():  # noqa: PLR2004 (the rule itself)
        raise ValueError(f"label {name!r} must be 1 to 200 printable characters without spaces at its ends")
    if unicodedata.normalize("NFC", name) != name:
        raise ValueError(f"label {name!r} must be in Unicode NFC")
    return name


def label_key(name: str) -> str:
    """The key under which label names are compared in search: NFKC, case-folded, runs of separators to one space."""
    folded = unicodedata.normalize("NFKC", name).casefold()
    return re.sub(r"[\s_-]+", " ", folded).strip()


def _valid_name(value: str) -> str:
    try:
        return check_name(value)
    except InvalidNameError as error:
        raise ValueError(str(error)) from error


def _valid_path(value: str) -> str:
    try:
        return check_path(value)
    except InvalidNameError as error:
        raise ValueError(str(error)) from error


ModuleName = Annotated[str, AfterValidator(_valid_name)]
LabelName = Annotated[str, AfterValidator(check_label)]
FilePath = Annotated[str, AfterValidator(_valid_path)]
