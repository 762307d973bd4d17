"""Buckets as the setting names them, and whether their store keeps the one promise that it is trusted with."""

import secrets
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import S3Store

from petapter_registry_server.errors import StoreError
from petapter_registry_server.storage.staging import SigningKey

if TYPE_CHECKING:
    from obstore.store import ObjectStore

_REMEDY = "use a store with conditional writes (AWS S3, Ceph RGW, MinIO), or local blobs"


def open_bucket(url: str, key: SigningKey | None = None) -> S3Store:
    """The bucket at `s3://bucket[/prefix]`, under the key of the environment or another one.

    Raises:
        StoreError: The address is none that is understood, or a variable of the environment is wrong.
    """
    parts = urlsplit(url)
    if parts.scheme != "s3" or not parts.netloc or parts.query or parts.fragment:
        raise StoreError(f"{url!r} is no place for blobs: write s3://bucket or s3://bucket/prefix")
    try:
        prefix = parts.path.strip("/") or None
        if key is None:
            return S3Store(parts.netloc, prefix=prefix)
        return S3Store(parts.netloc, prefix=prefix, access_key_id=key.key_id, secret_access_key=key.secret)
    except (BaseError, ValueError) as error:
        raise StoreError(f"{url} cannot be opened: {str(error).partition(chr(10))[0]}") from error


def check_store(objects: "ObjectStore") -> None:
    """Write one key twice, and see that the second write is refused and changes nothing.

    Raises:
        StoreError: The store cannot be reached, or takes the second write: two servers would overwrite each other.
    """
    key = f"probe/{secrets.token_hex(16)}"
    try:
        obstore.put(objects, key, b"first", mode="create", use_multipart=False)
        try:
            refused = _is_refused(objects, key)
        finally:
            obstore.delete(objects, key)
    except (BaseError, FileNotFoundError) as error:
        cause = str(error).partition("\n")[0]
        raise StoreError(
            f"the object store cannot be used: {cause}; check the bucket and AWS_ENDPOINT_URL, AWS_REGION, "
            "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, and AWS_ALLOW_HTTP=true for plain HTTP"
        ) from error
    if not refused:
        raise StoreError(f"the object store ignores 'If-None-Match: *' and overwrites what is there: {_REMEDY}")


def _is_refused(objects: "ObjectStore", key: str) -> bool:
    try:
        obstore.put(objects, key, b"other", mode="create", use_multipart=False)
    except AlreadyExistsError:
        return bytes(obstore.get(objects, key).bytes()) == b"first"
    return False
