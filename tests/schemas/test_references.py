import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from petapter_schemas.errors import InputError, InvalidReferenceError
from petapter_schemas.references import Reference, check_remote_name

_NAME = st.from_regex(r"[a-z0-9]([a-z0-9._-]{0,10}[a-z0-9])?", fullmatch=True).filter(
    lambda name: "--" not in name and ".." not in name and not name.endswith((".git", ".ipynb"))
)
_REVISION = st.from_regex(r"[a-zA-Z0-9]([a-zA-Z0-9+-]{0,10}[a-z0-9])?(/[a-z0-9]+)?", fullmatch=True)


@pytest.mark.parametrize(
    ("text", "remote", "repo_id", "revision"),
    [
        ("team/intents", None, "team/intents", None),
        ("hf:team/intents", "hf", "team/intents", None),
        ("lab:team/intents@v1.2.0", "lab", "team/intents", "v1.2.0"),
        ("team/intents@v1.0.0-rc.1+build.5", None, "team/intents", "v1.0.0-rc.1+build.5"),
        ("team/intents@refs/pr/1", None, "team/intents", "refs/pr/1"),
        ("team/intents@" + "a" * 40, None, "team/intents", "a" * 40),
    ],
)
def test_reference_is_read(text: str, remote: str | None, repo_id: str, revision: str | None) -> None:
    assert Reference.parse(text) == Reference(remote, repo_id, revision)


@pytest.mark.parametrize(
    "text",
    ["", "intents", "a/b/c", ":a/b", "a:b:c/d", "a/b@", "a/b@@v1", "a/b@v1@v2", "@v1", "a/b@../x", "a/b@-x", "a/b@x/",
     "a/b@x//y", "a/b@x.lock", "a/b@x/.y", "a/b@x.", "a/b@x y", "a/b@x\n", "a/b\n", " a/b", "a/b ", "http://a/b",
     "https://hub/a/b", "hf:/a/b", "../a", "./a/b", "a/..", "h f:a/b", "-x:a/b", "api/x", "a/con", "a/b@" + "x" * 200,
     "x" * 10_000, "a\\b/c", "a/b@~1", "a/b@^{}", "a/b@x:y"],
    ids=lambda text: ascii(text[:20]),
)  # fmt: skip
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(InputError) as refusal:
        Reference.parse(text)
    assert str(refusal.value).isprintable()
    assert len(str(refusal.value)) < 1000


@given(remote=st.none() | st.from_regex(r"[a-z][a-z0-9-]{0,8}", fullmatch=True), namespace=_NAME, name=_NAME,
       revision=st.none() | _REVISION)  # fmt: skip
def test_reference_survives_writing_and_reading(
    remote: str | None, namespace: str, name: str, revision: str | None
) -> None:
    try:
        reference = Reference.parse(str(Reference(remote, f"{namespace}/{name}", revision)))
    except InputError:  # a reserved or device name
        return
    assert reference == Reference(remote, f"{namespace}/{name}", revision)


@given(text=st.text(max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(InputError):
        assert str(Reference.parse(text)) == text


@pytest.mark.parametrize("name", ["", "a b", "a/b", "-a", "a:b", "ä", "a\n", "x" * 64])
def test_remote_name_is_checked(name: str) -> None:
    with pytest.raises(InvalidReferenceError):
        check_remote_name(name)
