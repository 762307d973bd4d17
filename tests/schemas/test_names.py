import os
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from petapter_schemas.errors import InvalidNameError
from petapter_schemas.names import (
    check_label,
    check_line,
    check_name,
    check_namespace,
    check_path,
    check_text,
    label_key,
    name_key,
    split_repo_id,
)

_GOOD_PATHS = [
    "README.md",
    "petapter.json",
    ".gitattributes",
    "plots/confusion.png",
    "a/b/c/d.txt",
    "überblick.md",
    "mit leerzeichen.md",
    "x" * 255,
    "console.txt",
    "com10.txt",
    ".github/x.md",
]
_BAD_PATHS = [
    "",
    ".",
    "..",
    "/",
    "/etc/passwd",
    "//server/share",
    "a//b",
    "a/",
    "./a",
    "a/./b",
    "../a",
    "a/../b",
    "a/..",
    "..\\a",
    "a\\b",
    "\\\\?\\C:\\x",
    "C:/x",
    "C:x",
    "a:stream",
    "a/b:c",
    "a\0b",
    "a\nb",
    "a\x1b[31m",
    "a\x7f",
    "a\x85b",
    "a\u200bb",
    "a\u202egnp.exe",
    "a\u2066b",
    "a\ufeffb",
    "a\u2028b",
    "a\ud800",
    "a\u00a0b",
    "e\u0301.md",  # NFD
    "\u212b.md",  # Angstrom sign, which NFC replaces
    "a.",
    "a ",
    " a",
    "a/b.",
    "a /b",
    "a./b",
    "x" * 256,
    "é" * 128,
    "a/" * 600 + "b",
    "con",
    "CON",
    "Con.txt",
    "con .txt",
    "a/nul",
    "aux.tar.gz",
    "prn/x",
    "com1",
    "LPT9.md",
    "com¹.txt",
    "CONIN$",
    ".git/config",
    "a/.GIT/hooks/x",
    "%2e%2e/passwd",
    "a%2fb",
    "..%c0%af",
    "a#b",
    "a?b",
    "a*b",
    'a"b',
    "a<b",
    "a|b",
    "...",
    "a/...",
]


@pytest.mark.parametrize("path", _GOOD_PATHS)
def test_safe_path_passes_unchanged(path: str) -> None:
    assert check_path(path) == path


@pytest.mark.parametrize("path", _BAD_PATHS, ids=ascii)
def test_unsafe_path_is_refused_on_one_printable_line(path: str) -> None:
    with pytest.raises(InvalidNameError) as refusal:
        check_path(path)
    assert str(refusal.value).isprintable()
    assert len(str(refusal.value)) < 400


@given(path=st.text(alphabet=st.sampled_from("./\\ ab~%\0:"), max_size=12) | st.text(max_size=30))
def test_no_allowed_path_leaves_its_directory(path: str) -> None:
    try:
        check_path(path)
    except InvalidNameError:
        return
    base = Path("/somewhere/module")
    assert Path(os.path.normpath(base / path)).is_relative_to(base)
    assert Path(os.path.normpath(base / path)) == base / path


@pytest.mark.parametrize("name", ["a", "A1", "intents", "my.module_v2-x", "x" * 96, "9lives"])
def test_allowed_name_passes_unchanged(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "-a", "a-", ".a", "a.", "_a", "a--b", "a..b", "a/b", "a b", "a\n", "ä", "\u0430pple", "a\0",
     "x" * 97, "REPO.GIT", "book.ipynb", "con", "NUL", "aux.x", "a%20b", "a@b", "a:b", "~a", "$HOME"],
    ids=ascii,
)  # fmt: skip
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(InvalidNameError):
        check_name(name)


@pytest.mark.parametrize("name", ["api", "API", "datasets", "static"])
def test_reserved_namespace_is_refused(name: str) -> None:
    with pytest.raises(InvalidNameError, match="reserved"):
        check_namespace(name)


@pytest.mark.parametrize("repo_id", ["a", "a/b/c", "/a", "a/", "", "a//b", "api/x"])
def test_repo_id_needs_a_namespace_and_a_name(repo_id: str) -> None:
    with pytest.raises(InvalidNameError):
        split_repo_id(repo_id)


def test_look_alike_repository_ids_collide() -> None:
    assert len({name_key(f"Team/{name}") for name in ("intent-l0", "intent_10", "Intent.IO", "intentlo")}) == 1
    assert name_key("a/b") != name_key("ab")


@pytest.mark.parametrize("label", ["a", "World", "card arrival", "+", "-", "çok iyi", "是", "x" * 200, "C#", "<b>"])
def test_label_passes_unchanged(label: str) -> None:
    assert check_label(label) == label


@pytest.mark.parametrize(
    "label",
    ["", " a", "a ", "a\n", "a\tb", "a\0", "a\u200bb", "a\u202eb", "e\u0301", "x" * 201, "\u00a0", "a\u00a0b"],
    ids=ascii,
)
def test_label_that_looks_like_another_is_refused(label: str) -> None:
    with pytest.raises(InvalidNameError):
        check_label(label)


@pytest.mark.parametrize(
    ("one", "other"), [("Card_Arrival", "card  arrival"), ("straße", "STRASSE"), ("ﬁle", "FILE"), ("a-b", "a_b")]
)
def test_labels_written_differently_share_a_key(one: str, other: str) -> None:
    assert label_key(one) == label_key(other)


def test_labels_of_separators_alone_keep_apart() -> None:
    assert label_key("-") == "-" != label_key("_")


@given(name=st.text(max_size=20))
def test_label_key_of_a_key_is_itself(name: str) -> None:
    assert label_key(label_key(name)) == label_key(name)


@pytest.mark.parametrize(
    "text", ["", "two\nlines\tand a tab", "می‌خواهم", "👩‍👩‍👧", "naïve — café", "a\u00a0b", string.punctuation]
)
def test_honest_text_passes_unchanged(text: str) -> None:
    assert check_text(text) == text


@pytest.mark.parametrize(
    "hidden",
    ["\0", "\x1b", "\r", "\x7f", "\x9b", "\u200b", "\u200e", "\u202e", "\u2066", "\u2028", "\ufeff", "\u2060",
     "\U000e0041"],
    ids=ascii,
)  # fmt: skip
def test_hidden_character_is_named(hidden: str) -> None:
    with pytest.raises(InvalidNameError, match=f"U\\+{ord(hidden):04X}"):
        check_text(f"a{hidden}b")


def test_line_holds_no_line_break() -> None:
    with pytest.raises(InvalidNameError, match="one line"):
        check_line("a\nb")
