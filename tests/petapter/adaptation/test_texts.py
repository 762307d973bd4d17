import gzip
import hashlib
import lzma
from collections.abc import Callable
from pathlib import Path

import pytest

from petapter.adaptation import Texts
from petapter.adaptation.texts import _MAX_DOCUMENT_CHARACTERS
from petapter_schemas.errors import InputError

Written = Callable[[str, bytes], Path]
LINES = "first text\n\n  zweiter für Text \nlast".encode()
DOCUMENTS = ["first text", "zweiter für Text", "last"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", LINES),
        ("with-mark.txt", b"\xef\xbb\xbf" + LINES),
        ("a.txt.xz", lzma.compress(LINES)),
        ("a.txt.gz", gzip.compress(LINES, mtime=0)),
        ("a.csv", "id,text\n1,first text\n2,\n3,zweiter für Text\n4,last\n".encode()),
        ("a.jsonl", '{"text": "first text"}\n{"text": "zweiter für Text"}\n{"text": "last"}\n'.encode()),
    ],
)
def test_every_kind_of_file_gives_the_same_documents(written: Written, name: str, content: bytes) -> None:
    assert list(Texts((written(name, content),)).documents()) == DOCUMENTS


def test_another_column_of_a_table(written: Written) -> None:
    assert list(Texts((written("a.csv", b"body,text\nyes,no\n"),), "body").documents()) == ["yes"]


def test_files_follow_one_another_and_are_named_by_digest(written: Written) -> None:
    texts = Texts((written("a.txt", b"one\n"), written("b.txt", b"two\nthree\n")))
    assert list(texts.documents()) == ["one", "two", "three"]
    first, second = texts.digests()
    assert (first.name, first.size_bytes, first.sha256) == ("a.txt", 4, hashlib.sha256(b"one\n").hexdigest())
    assert second.sha256 == hashlib.sha256(b"two\nthree\n").hexdigest()


def test_a_file_without_line_breaks_is_read_in_parts(written: Written) -> None:
    path = written("long.txt", b"x" * (_MAX_DOCUMENT_CHARACTERS * 2 + 5))
    assert [len(text) for text in Texts((path,)).documents()] == [_MAX_DOCUMENT_CHARACTERS] * 2 + [5]


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("latin.txt", b"fine\ncaf\xe9\n", "is not UTF-8"),
        ("latin.txt.gz", gzip.compress(b"caf\xe9\n", mtime=0), "is not UTF-8"),
        ("empty.txt", b"", "holds no text"),
        ("blank.txt", b" \n\n\t\n", "holds no text"),
        ("half.xz", lzma.compress(LINES)[:-20], "no whole compressed file"),
        ("half.gz", gzip.compress(LINES, mtime=0)[:-12], "no whole compressed file"),
        ("fake.xz", b"just words", "no whole compressed file"),
        ("fake.gz", b"just words", "no whole compressed file"),
        ("packed.csv.gz", gzip.compress(b"text\na\n", mtime=0), "is a compressed table: unpack it"),
        ("other.csv", b"body\na\n", "has no column 'text'"),
        ("number.jsonl", b'{"text": 3}\n', "holds no text: quote it"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line(written: Written, name: str, content: bytes, problem: str) -> None:
    path = written(name, content)
    with pytest.raises(InputError, match=problem) as refusal:
        list(Texts((path,)).documents())
    assert path.name in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_missing_file_and_no_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.txt cannot be read: No such file"):
        Texts((tmp_path / "gone.txt",)).digests()
    with pytest.raises(InputError, match="name at least one file"):
        Texts(()).digests()
