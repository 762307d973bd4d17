"""One safetensors file per way to break one, as bytes; every entry must be refused.

Marked in the comments: what safetensors 0.8.0 itself accepts although nobody should (measured).
"""

import json
import struct

from tests.schemas.tiny_module import with_header

_FOUR = b"\0" * 4  # one F32


def _one(name: str = "a", **changes: object) -> bytes:
    """A file with one tensor of one F32, changed."""
    entry: dict[str, object] = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4], **changes}
    return with_header(json.dumps({name: entry}).encode(), _FOUR)


def _raw(header: str, data: bytes = _FOUR) -> bytes:
    return with_header(header.encode("utf-8", "surrogatepass"), data)


_A = '"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'
_B = '"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}'
_MANY = ",".join(f'"t{i}":{{"dtype":"I8","shape":[1],"data_offsets":[{i},{i + 1}]}}' for i in range(4097))

VALID: dict[str, bytes] = {
    "one tensor": _one(),
    "two tensors": _raw(f"{{{_A},{_B}}}", 2 * _FOUR),
    "tensors listed in another order than their bytes": _raw(f"{{{_B},{_A}}}", 2 * _FOUR),
    "a scalar": _one(shape=[]),
    "padded with spaces": _raw(f"{{{_A}}}     "),
    "metadata": _raw(f'{{"__metadata__":{{"format":"pt"}},{_A}}}'),
}

HOSTILE: dict[str, bytes] = {
    # the frame
    "empty file": b"",
    "seven bytes": b"\1" * 7,
    "no header": struct.pack("<Q", 0) + b"\0\0",
    "header longer than the file": struct.pack("<Q", 1000) + b"{}",
    "header length 2^63": struct.pack("<Q", 1 << 63) + b"{}",
    "header length 2^64-1": struct.pack("<Q", (1 << 64) - 1) + b"{}",
    "truncated values": _one()[:-1],
    "trailing bytes": _one() + b"PK\3\4",  # a polyglot
    "header over one MiB": _raw("{" + " " * (1 << 20) + _A + "}"),  # accepted by the library
    "pickle": b"\x80\x04\x95\x10\0\0\0\0\0\0\0\x8c\x05posix\x94",
    "zip": b"PK\3\4" + b"\0" * 60,
    # JSON
    "not JSON": _raw("{nonsense}"),
    "a list": _raw("[]"),
    "leading space": _raw(f" {{{_A}}}"),  # accepted by the library
    "trailing newline": _raw(f"{{{_A}}}\n"),  # accepted by the library
    "NUL padding": _raw(f"{{{_A}}}\0\0"),
    "byte order mark": _raw("\ufeff{" + _A + "}"),
    "garbage after JSON": _raw(f"{{{_A}}} x"),
    "two documents": _raw(f"{{{_A}}}{{{_A}}}"),
    "not UTF-8": with_header(b'{"\xff' + _A[2:].encode() + b"}", _FOUR),
    "UTF-16": with_header(f"{{{_A}}}".encode("utf-16"), _FOUR),
    "lone surrogate": _raw('{"__metadata__":{"k":"\\ud800"},' + _A + "}"),
    "depth bomb of lists": _raw('{"a":' + "[" * 100_000 + "]" * 100_000 + "}"),
    "depth bomb of objects": _raw('{"a":' * 50_000 + "1" + "}" * 50_000),
    "huge integer": _raw('{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,' + "4" * 5000 + "]}}"),
    "infinite number": _raw('{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,1e999]}}'),
    "NaN": _raw('{"a":{"dtype":"F32","shape":[NaN],"data_offsets":[0,4]}}'),
    # duplicates, at every level
    "duplicate tensor": _raw('{"a":{"dtype":"I64","shape":[9,9],"data_offsets":[0,648]},' + _A + "}"),  # accepted
    "duplicate tensor, escaped": _raw("{" + _A + "," + _A.replace('"a"', '"\\u0061"') + "}"),  # accepted
    "duplicate dtype": _raw('{"a":{"dtype":"F16","dtype":"F32","shape":[1],"data_offsets":[0,4]}}'),
    "duplicate shape": _raw('{"a":{"dtype":"F32","shape":[9],"shape":[1],"data_offsets":[0,4]}}'),
    "duplicate metadata": _raw('{"__metadata__":{},"__metadata__":{},' + _A + "}"),
    "duplicate metadata key": _raw('{"__metadata__":{"k":"1","k":"2"},' + _A + "}"),  # accepted by the library
    # tensors
    "no tensors": _raw("{}", b""),  # accepted by the library
    "only metadata": _raw('{"__metadata__":{"k":"v"}}', b""),  # accepted by the library
    "more than 4096 tensors": _raw("{" + _MANY + "}", b"\0" * 4097),  # accepted by the library
    "tensor is a list": _raw('{"a":[]}'),
    "unknown field": _one(extra=1),  # accepted by the library
    "missing dtype": _raw('{"a":{"shape":[1],"data_offsets":[0,4]}}'),
    "missing shape": _raw('{"a":{"dtype":"F32","data_offsets":[0,4]}}'),
    "missing offsets": _raw('{"a":{"dtype":"F32","shape":[1]}}'),
    # names
    "name climbs": _one("../../etc/passwd"),  # this and the next seven are accepted by the library
    "name is absolute": _one("/etc/passwd"),
    "name with dots inside": _one("a..b"),
    "name with NUL": _one("a\0b"),
    "name with bidi and zero width": _one("a\u202eb\u200b"),
    "name empty": _one(""),
    "name of 257 characters": _one("a" * 257),
    "name with a space": _one("a b"),
    # dtypes
    "dtype F64": _one(dtype="F64", data_offsets=[0, 8]) + _FOUR,
    "dtype I64": _one(dtype="I64", data_offsets=[0, 8]) + _FOUR,
    "dtype F4": _one(dtype="F4", shape=[8]),  # accepted by the library
    "dtype unknown": _one(dtype="F33"),
    "dtype with an escape sequence": _one(dtype="\x1b[31mF32"),
    "dtype is a number": _one(dtype=32),
    "dtype is a list": _one(dtype=["F32"]),
    # shapes
    "rank 9": _one(shape=[1] * 9),  # accepted by the library
    "rank 100,000": _one(shape=[1] * 100_000),  # accepted by the library
    "shape overflows": _one(shape=[1 << 32, 1 << 32], data_offsets=[0, 4]),
    "shape of nothing": _raw(
        '{"a":{"dtype":"F32","shape":[0,1],"data_offsets":[0,0]},' + _A.replace('"a"', '"b"') + "}"
    ),
    "shape [0, 2^64-1]": _raw('{"a":{"dtype":"F32","shape":[0,18446744073709551615],"data_offsets":[0,0]}}', b""),
    "negative dimension": _one(shape=[-1]),
    "negative zero": _raw('{"a":{"dtype":"F32","shape":[1],"data_offsets":[-0,4]}}'),
    "fractional dimension": _one(shape=[1.0]),
    "boolean dimension": _one(shape=[True]),
    "textual dimension": _one(shape=["1"]),
    "shape is a number": _one(shape=1),
    "shape is null": _one(shape=None),
    # offsets
    "negative offset": _one(data_offsets=[-4, 0]),
    "offsets reversed": _one(data_offsets=[4, 0]),
    "one offset": _one(data_offsets=[4]),
    "three offsets": _one(data_offsets=[0, 4, 8]),
    "fractional offset": _one(data_offsets=[0.0, 4.0]),
    "offset beyond the end": _one(data_offsets=[4, 8]),
    "offset 2^64": _one(data_offsets=[1 << 64, (1 << 64) + 4]),
    "size smaller than its bytes": _one(shape=[1], data_offsets=[0, 8]) + _FOUR,
    "overlap": _raw("{" + _A + "," + _A.replace('"a"', '"b"') + "}"),
    "partial overlap": _raw("{" + _A + ',"b":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}}', b"\0" * 6),
    "hole": _raw("{" + _A + ',"b":{"dtype":"F32","shape":[1],"data_offsets":[8,12]}}', 3 * _FOUR),
    "hole at the start": _raw('{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}', 2 * _FOUR),
    # metadata
    "metadata is null": _raw('{"__metadata__":null,' + _A + "}"),
    "metadata is a list": _raw('{"__metadata__":[],' + _A + "}"),
    "metadata holds a number": _raw('{"__metadata__":{"k":1},' + _A + "}"),
    "metadata holds an object": _raw('{"__metadata__":{"k":{}},' + _A + "}"),
    "65 metadata keys": _raw(json.dumps({"__metadata__": {str(i): "" for i in range(65)}})[:-1] + "," + _A + "}"),
    "metadata value over 4 KiB": _raw('{"__metadata__":{"k":"' + "v" * 4097 + '"},' + _A + "}"),
    "metadata over 4 KiB in UTF-8": _raw('{"__metadata__":{"k":"' + "é" * 2049 + '"},' + _A + "}"),
}
