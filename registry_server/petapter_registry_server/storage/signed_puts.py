"""Whether addresses that are signed for a PUT allow that PUT and nothing else: what a bucket must keep to for uploads.

Clients choose the headers of such a PUT. AWS refuses each `x-amz-…` header that was not signed. A store that takes them
(Ceph RGW 16 does) lets `x-amz-copy-source` put any object of the bucket, read with the signer's right, in the place of
bytes that the client would have to have, and `x-amz-acl` show bytes to everybody that the registry never looked at.
"""

import secrets
from collections.abc import Iterator
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import BaseError

from petapter_registry_server.errors import StoreError
from petapter_registry_server.storage.object_staging import FOLDER, ObjectStaging

if TYPE_CHECKING:
    import httpx
    from obstore.store import S3Store

_TIMEOUT_S = 10
_LIFETIME_S = 60


def check_signed_puts(objects: "S3Store", signer: "S3Store") -> None:
    """Try a signed PUT, and what somebody who holds its address may try besides. Leaves nothing in the bucket.

    Raises:
        StoreError: The store cannot be reached, does not take the PUT, or allows more than it.
    """
    import httpx  # noqa: PLC0415 (a start does without, unless clients are to upload to the store)

    tried = _Tried(objects, ObjectStaging(objects, signer))
    try:
        with httpx.Client(timeout=_TIMEOUT_S, follow_redirects=False, trust_env=False) as client:
            problem = next(tried.problems(client), None)
    except (BaseError, httpx.HTTPError) as error:
        cause = str(error).partition("\n")[0] or type(error).__name__
        raise StoreError(f"the object store cannot be tried with a signed PUT: {cause}") from error
    finally:
        tried.tidy()
    if problem is not None:
        raise StoreError(f"clients cannot be sent to this bucket: {problem}")


class _Tried:
    """A name in staging with an address, and an object beside it that the address must not reach."""

    def __init__(self, objects: "S3Store", staging: ObjectStaging) -> None:
        self._objects = objects
        self._key = f"probe/{secrets.token_hex(16)}"
        self._staging = staging
        self._address = staging.address(self._key, _LIFETIME_S)

    def problems(self, client: "httpx.Client") -> Iterator[str]:
        """What is wrong, in the order in which it is tried."""
        status = client.put(self._address, content=b"first").status_code
        if self._sent() != b"first":
            yield f"the object store answers a signed PUT with {status} and does not keep the bytes"
        client.put(self._address.replace(f"{FOLDER}/{self._key}", self._key), content=b"other")
        if _read(self._objects, self._key) is not None:
            yield "the object store takes writes that nobody signed"
        yield from self._try_to_copy(client)
        yield from self._try_to_show(client)

    def _try_to_copy(self, client: "httpx.Client") -> Iterator[str]:
        obstore.put(self._objects, self._key, b"hidden", use_multipart=False)
        path = "/".join(filter(None, (self._objects.config["bucket"], self._objects.prefix, self._key)))
        client.put(self._address, headers={"x-amz-copy-source": f"/{path}"})
        if self._sent() == b"hidden":
            yield (
                "the object store lets whoever may upload copy any object of the bucket ('x-amz-copy-source' is taken "
                "unsigned): sign with a key that may write and not read (direct_uploads_key_id, direct_uploads_secret)"
            )

    def _try_to_show(self, client: "httpx.Client") -> Iterator[str]:
        client.put(self._address, content=b"shown", headers={"x-amz-acl": "public-read"})
        if client.get(self._address.partition("?")[0]).is_success:
            yield (
                "the object store shows everybody what clients upload ('x-amz-acl' is taken unsigned, or the bucket is "
                "public): set IgnorePublicAcls in the bucket's public access block"
            )

    def tidy(self) -> None:
        """Remove both."""
        try:
            self._staging.delete(self._key)
            obstore.delete(self._objects, self._key)
        except (BaseError, FileNotFoundError, StoreError):  # the store does not answer, which was said already
            return

    def _sent(self) -> bytes | None:
        return _read(self._objects, f"{FOLDER}/{self._key}")


def _read(objects: "S3Store", key: str) -> bytes | None:
    try:
        return bytes(obstore.get(objects, key).bytes())
    except FileNotFoundError:
        return None
