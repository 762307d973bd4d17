"""Which stores clients may be sent to: only such as keep to what an address was signed for."""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import obstore
import pytest

from petapter_registry_server.app import create_app
from petapter_registry_server.errors import StoreError
from petapter_registry_server.services.doctor import examine_installation
from petapter_registry_server.settings import Settings
from petapter_registry_server.storage.signed_puts import check_signed_puts
from tests.registry_server.conftest import running
from tests.registry_server.recording_proxy import Seen, recording_proxy
from tests.registry_server.s3_server import S3Server
from tests.registry_server.strict_store import REAL_KEY, StrictStore, is_allowed, strict_store
from tests.registry_server.test_direct_uploads import direct_settings

Judge = Callable[[Seen, str], bool]
"""Whether a store whose secret is given lets a request pass."""


@pytest.fixture
def store(s3: S3Server) -> Iterator[StrictStore]:
    with strict_store(s3) as strict:
        yield strict


def test_blobs_in_a_directory_are_refused_in_one_line(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path / "data", direct_uploads=True)
    with pytest.raises(StoreError, match="direct_uploads needs an object store") as refused:
        create_app(settings)
    assert "\n" not in str(refused.value)
    assert findings(settings)["direct uploads"] == ("failure", str(refused.value))


@pytest.mark.s3
def test_half_a_key_is_refused(s3: S3Server, tmp_path: Path) -> None:
    blobs = f"s3://{s3.new_bucket()}"
    with pytest.raises(StoreError, match="give both, or none"):
        create_app(Settings(data=tmp_path, blobs=blobs, direct_uploads=True, direct_uploads_key_id="only"))


def findings(settings: Settings) -> dict[str, tuple[str, str]]:
    return {found.subject: (found.state, found.text) for found in examine_installation(settings)}


@pytest.mark.s3
def test_doctor_says_whether_the_store_signs_puts(
    store: StrictStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "the object store signs PUTs that allow nothing else"
    settings = direct_settings(store, tmp_path, monkeypatch)
    with running(settings):
        assert findings(settings)["direct uploads"] == ("ok", f"on; {text}")
        off = settings.model_copy(update={"direct_uploads": False})
        assert findings(off)["direct uploads"] == ("ok", f"off; {text}")


@pytest.mark.s3
def test_doctor_names_what_a_store_allows_too_much(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The registry does not start over it, and the option can be left off."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.endpoint)
    if REAL_KEY in os.environ:
        pytest.skip("a real store is as lax as it is")
    settings = Settings(data=tmp_path / "data", blobs=f"s3://{s3.new_bucket()}", direct_uploads=True)
    with pytest.raises(StoreError, match="clients cannot be sent to this bucket") as refused:
        create_app(settings)
    with running(settings.model_copy(update={"direct_uploads": False})) as registry:
        assert findings(settings)["direct uploads"] == ("failure", str(refused.value))
        assert findings(registry.settings)["direct uploads"] == ("ok", f"off; {refused.value}")


def lax(header: str) -> Judge:
    """A store as strict as any, but for one header that it takes unsigned."""

    def may_pass(seen: Seen, secret: str) -> bool:
        headers = {name: text for name, text in seen.headers.items() if name != header}
        return is_allowed(replace(seen, headers=headers), secret)

    return may_pass


LAX: Mapping[str, tuple[Judge, str]] = {
    "everything": (lambda _seen, _secret: True, "takes writes that nobody signed"),
    "copies": (lax("x-amz-copy-source"), "lets whoever may upload copy any object"),
    "rights": (
        lambda seen, secret: lax("x-amz-acl")(seen, secret) or (seen.method == "GET" and "?" not in seen.path),
        "shows everybody what clients upload",
    ),
    "nothing": (lambda seen, _secret: "authorization" in seen.headers, "answers a signed PUT with 403"),
}


@pytest.mark.s3
@pytest.mark.skipif(REAL_KEY in os.environ, reason="a real store is as lax as it is")
@pytest.mark.parametrize(("may_pass", "message"), LAX.values(), ids=LAX)
def test_store_that_allows_more_is_refused(s3: S3Server, may_pass: Judge, message: str) -> None:
    with recording_proxy(s3.endpoint, lambda seen: may_pass(seen, s3.secret)) as proxy:
        bucket = replace(s3, endpoint=proxy.url).open(s3.new_bucket(), "some/prefix")
        with pytest.raises(StoreError, match=message):
            check_signed_puts(bucket, bucket)
        assert [found for batch_ in obstore.list(bucket) for found in batch_] == []
