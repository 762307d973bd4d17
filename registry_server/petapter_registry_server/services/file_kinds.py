"""Which kinds of file the registry stores: by name and by what the bytes really are, never pickles or archives."""

import codecs
from pathlib import Path, PurePosixPath

from petapter_registry_server.errors import ContentRefusedError
from petapter_schemas.file_contents import ALLOWED_SUFFIXES, check_content, suffix
from petapter_schemas.names import check_path
from petapter_schemas.tensor_header import read_tensor_header

_SUFFIXES = ALLOWED_SUFFIXES | {".yaml", ".yml"}
_NAMES = frozenset({".gitattributes", ".gitignore"})
_CHUNK_BYTES = 1 << 20
_MAX_DEPTH = 16


def check_file_name(path: str) -> str:
    """Return a path unchanged when it is safe and of a kind that is stored.

    Raises:
        InvalidNameError: The path is not safe.
        ContentRefusedError: Its suffix is not allowed.
    """
    check_path(path)
    name = PurePosixPath(path).name
    if path.count("/") > _MAX_DEPTH:
        raise ContentRefusedError(f"{path} lies deeper than {_MAX_DEPTH} folders")
    if name not in _NAMES and suffix(name) not in _SUFFIXES:
        raise ContentRefusedError(f"{path} is of a kind that is not stored: only {', '.join(sorted(_SUFFIXES))}")
    return path


def check_file_bytes(path: str, location: Path) -> None:
    """Check that a file is what its name says: a strict safetensors file, a PNG, or UTF-8 text.

    Raises:
        TensorFileError: A .safetensors file breaks the strict rules.
        ManifestError: A .png file is no picture.
        ContentRefusedError: The bytes are no text.
    """
    kind = suffix(path)
    if kind == ".safetensors":
        read_tensor_header(location, name=PurePosixPath(path).name)
    elif kind == ".png":
        check_content(path, location, location.stat().st_size)
    else:
        _check_text(path, location)


def _check_text(path: str, location: Path) -> None:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        with location.open("rb") as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                if b"\0" in chunk:
                    raise ContentRefusedError(f"{path} is no text: it holds a zero byte")
                decoder.decode(chunk)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise ContentRefusedError(f"{path} is no UTF-8 text") from error
