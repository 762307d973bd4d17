"""Which blob store a setting means. Object stores need obstore, which a registry over local files runs without."""

from importlib.util import find_spec
from pathlib import Path

from petapter_registry_server.errors import StoreError
from petapter_registry_server.failpoints import Reached, nothing
from petapter_registry_server.settings import Settings
from petapter_registry_server.storage.blobs import BlobShelf
from petapter_registry_server.storage.local import LocalBlobStore
from petapter_registry_server.storage.staging import SigningKey, Staging
from petapter_registry_server.writes import Writes


def open_store(
    data: Path,
    url: str | None,
    reached: Reached = nothing,
    *,
    scratch: Path | None = None,
    writes: Writes | None = None,
) -> BlobShelf:
    """The blobs below the data directory, or those at `s3://bucket[/prefix]`; a bucket is not asked anything yet.

    Endpoint, region and credentials of a bucket come from the usual `AWS_…` variables of the environment.

    Args:
        data: The data directory.
        url: The bucket; None for the directory.
        reached: Called at the named places of failpoints.py.
        scratch: A scratch folder of this process alone; None takes the common one of the directory.
        writes: What a failed sync stops; None for programs of one deed.

    Raises:
        StoreError: The address is none that is understood, or obstore is not installed.
    """
    if url is None:
        return LocalBlobStore(data, scratch, reached, writes)
    _require_obstore()
    from petapter_registry_server.storage.buckets import open_bucket  # noqa: PLC0415 (needs obstore)
    from petapter_registry_server.storage.objects import ObjectBlobStore  # noqa: PLC0415 (needs obstore)

    return ObjectBlobStore(open_bucket(url), scratch or data / "scratch")


def open_checked_store(
    data: Path,
    url: str | None,
    reached: Reached = nothing,
    *,
    scratch: Path | None = None,
    writes: Writes | None = None,
) -> BlobShelf:
    """As `open_store`, and a bucket has to refuse a second write of a key.

    Raises:
        StoreError: As `open_store`, or the store cannot be reached or trusted.
    """
    if url is not None:
        _require_obstore()
        from petapter_registry_server.storage.buckets import check_store, open_bucket  # noqa: PLC0415 (needs obstore)

        check_store(open_bucket(url))
    return open_store(data, url, reached, scratch=scratch, writes=writes)


def open_staging(settings: Settings) -> Staging | None:
    """Where clients may send bytes themselves; None for blobs in a directory. A bucket is not asked anything yet.

    Raises:
        StoreError: As `open_store`, or half a key is given to sign with.
    """
    if settings.blobs is None:
        return None
    _require_obstore()
    from petapter_registry_server.storage.buckets import open_bucket  # noqa: PLC0415 (needs obstore)
    from petapter_registry_server.storage.object_staging import ObjectStaging  # noqa: PLC0415 (needs obstore)

    return ObjectStaging(open_bucket(settings.blobs), open_bucket(settings.blobs, _signing_key(settings)))


def check_staging(settings: Settings) -> None:
    """See that clients may be sent to the store, and can do there what they are to do and nothing else.

    Raises:
        StoreError: Blobs lie in a directory, or the bucket cannot be trusted with it, or half a key is given.
    """
    if settings.blobs is None:
        raise StoreError(
            "direct_uploads needs an object store, and blobs in a directory have no addresses: give --blobs "
            "s3://bucket, or leave PETAPTER_REGISTRY_DIRECT_UPLOADS out"
        )
    _require_obstore()
    from petapter_registry_server.storage.buckets import open_bucket  # noqa: PLC0415 (needs obstore)
    from petapter_registry_server.storage.signed_puts import check_signed_puts  # noqa: PLC0415 (needs obstore)

    check_signed_puts(open_bucket(settings.blobs), open_bucket(settings.blobs, _signing_key(settings)))


def _signing_key(settings: Settings) -> SigningKey | None:
    key_id, secret = settings.direct_uploads_key_id, settings.direct_uploads_secret
    if key_id is None and secret is None:
        return None
    if key_id is None or secret is None:
        raise StoreError("direct_uploads_key_id and direct_uploads_secret belong together: give both, or none")
    return SigningKey(key_id, secret.get_secret_value())


def _require_obstore() -> None:
    if find_spec("obstore") is None:
        raise StoreError("blobs in an object store need one more package: pip install 'petapter[scale]'")
