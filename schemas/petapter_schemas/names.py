"""Which names are allowed for namespaces, modules, labels and files; the same rules on client and server."""

import re
import unicodedata
from collections.abc import Callable
from typing import Annotated

from pydantic import AfterValidator

from petapter_schemas.errors import InvalidNameError

RESERVED_NAMESPACES = frozenset(
    {"api", "buckets", "collections", "datasets", "evalsets", "health", "kernels", "metrics", "models", "oauth",
     "settings", "spaces", "static", "web"}
)  # fmt: skip
"""First path segments that the Hub's protocol or the registry use for themselves."""

# Control characters, line and paragraph separators, bidi and zero-width marks, half characters, language tags: what
# shows a reader another text than a program sees. Joiners (U+200C, U+200D) stay: Persian words and emoji need them.
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f]"
)

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9])?")
_NAME_RULE = "use 1 to 96 ASCII letters, digits, '.', '_' or '-', beginning and ending with a letter or digit"
_MAX_SEGMENT_BYTES = 255
_MAX_PATH_BYTES = 1024
_MAX_LABEL_CHARACTERS = 200
_SHOWN = 100
_DEVICE_NAMES = frozenset(
    {"con", "prn", "aux", "nul", "conin$", "conout$"} | {f"{d}{n}" for d in ("com", "lpt") for n in "123456789¹²³"}
)
"""Names that Windows opens as devices, whatever follows the first dot."""


def check_name(name: str, *, what: str = "name") -> str:
    """Return a namespace or module name unchanged when it is allowed.

    Raises:
        InvalidNameError: It breaks the rules.
    """
    if not _NAME.fullmatch(name):
        raise InvalidNameError(f"{what} {_show(name)} is not allowed: {_NAME_RULE}")
    if "--" in name or ".." in name:
        raise InvalidNameError(f"{what} {name!r} is not allowed: '--' and '..' must not occur")
    if name.lower().endswith((".git", ".ipynb")):
        raise InvalidNameError(f"{what} {name!r} is not allowed: it must not end in .git or .ipynb")
    if _is_device(name):
        raise InvalidNameError(f"{what} {name!r} is not allowed: it names a device on Windows")
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
        raise InvalidNameError(f"{_show(repo_id)} is no module name: write namespace/name, for example team/intents")
    return check_namespace(namespace), check_name(name, what="module name")


def name_key(repo_id: str) -> str:
    """The key under which look-alike repository ids collide.

    Lower case, separators dropped, and the characters that readers confuse folded (l, i -> 1; o -> 0), as the Python
    Package Index does (`ultranormalize_name` in pypi/warehouse). The slash stays.
    """
    folded = re.sub(r"[._-]", "", repo_id.lower())
    return folded.translate(str.maketrans("lio", "110"))


def check_path(path: str) -> str:
    r"""Return a file path inside a module unchanged when it is safe on every file system.

    POSIX relative, NFC, no empty, `.`, `..` or `.git` segment, no control or unassigned character, none of
    `\:*?"<>|%#`, no segment beginning with a space or ending in a dot or space, no device name, at most 255 bytes per
    segment and 1,024 in all.

    Raises:
        InvalidNameError: It breaks the rules.
    """
    if not path or len(path.encode("utf-8", "surrogatepass")) > _MAX_PATH_BYTES:
        raise InvalidNameError(f"file path of {len(path)} characters is not allowed: use 1 to {_MAX_PATH_BYTES} bytes")
    if unicodedata.normalize("NFC", path) != path:
        raise InvalidNameError(f"file path {_show(path)} is not allowed: normalise it to Unicode NFC")
    # % and # are harmless on disk, but a proxy that decodes twice or cuts a fragment would ask for another file
    if any(character in '\\:*?"<>|%#' or not character.isprintable() for character in path):
        raise InvalidNameError(f"file path {_show(path)} is not allowed: it holds a control or reserved character")
    for segment in path.split("/"):
        _check_segment(segment, path)
    return path


def _check_segment(segment: str, path: str) -> None:
    if segment.lower() in {"", ".", "..", ".git"}:
        raise InvalidNameError(
            f"file path {_show(path)} is not allowed: write a relative path without '.', '..', '.git'"
        )
    if segment[-1] in ". " or segment[0] == " ":
        raise InvalidNameError(f"file path {_show(path)} is not allowed: a part begins or ends with a space or dot")
    if _is_device(segment):
        raise InvalidNameError(f"file path {_show(path)} is not allowed: {_show(segment)} is a device name on Windows")
    if len(segment.encode("utf-8")) > _MAX_SEGMENT_BYTES:
        raise InvalidNameError(
            f"file path {_show(path)} is not allowed: a part is longer than {_MAX_SEGMENT_BYTES} bytes"
        )


def _is_device(segment: str) -> bool:
    return segment.split(".", maxsplit=1)[0].rstrip(" ").lower() in _DEVICE_NAMES


def check_label(name: str) -> str:
    """Return a label name unchanged when it is printable, NFC, trimmed, and 1 to 200 characters long.

    Raises:
        InvalidNameError: It breaks the rules.
    """
    if not 1 <= len(name) <= _MAX_LABEL_CHARACTERS or name != name.strip() or not name.isprintable():
        raise InvalidNameError(
            f"label {_show(name)} must be 1 to {_MAX_LABEL_CHARACTERS} printable characters without spaces at its ends"
        )
    if unicodedata.normalize("NFC", name) != name:
        raise InvalidNameError(f"label {_show(name)} must be in Unicode NFC")
    return name


def check_text(text: str) -> str:
    """Return a text unchanged when it hides nothing: no control, bidi or zero-width character but newline and tab.

    Raises:
        InvalidNameError: It does.
    """
    if hidden := _HIDDEN.search(text):
        raise InvalidNameError(
            f"text {_show(text)} holds the invisible character U+{ord(hidden.group()):04X}: remove it"
        )
    return text


def check_line(text: str) -> str:
    """Return a text unchanged when it is one line and hides nothing, tabs included.

    Raises:
        InvalidNameError: It breaks the rules.
    """
    if "\n" in text or "\t" in text:
        raise InvalidNameError(f"text {_show(text)} must stand on one line without tabs")
    return check_text(text)


def label_key(name: str) -> str:
    """The key under which label names are compared in search: NFKC, case-folded, runs of separators to one space.

    A name of separators alone, such as "-", is its own key.
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    return re.sub(r"[\s_-]+", " ", folded).strip() or folded


def _show(text: str) -> str:
    return repr(text) if len(text) <= _SHOWN else f"{text[:_SHOWN]!r}…"


def _for_pydantic(check: Callable[[str], str]) -> AfterValidator:
    """A check as a pydantic validator, which must raise ValueError."""

    def validate(value: str) -> str:
        try:
            return check(value)
        except InvalidNameError as error:
            raise ValueError(str(error)) from error

    return AfterValidator(validate)


ModuleName = Annotated[str, _for_pydantic(check_name)]
LabelName = Annotated[str, _for_pydantic(check_label)]
FilePath = Annotated[str, _for_pydantic(check_path)]

ONE_LINE = _for_pydantic(check_line)
"""To be named last in an annotation, so that lengths are those of the stripped text."""
PLAIN_TEXT = _for_pydantic(check_text)
"""Likewise, for texts of several lines."""
