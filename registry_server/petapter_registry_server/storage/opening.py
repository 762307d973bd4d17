"""Which blob store a setting means. Object stores need obstore, which a registry over local files runs without."""

from importlib.util import find_spec
from pathlib import Path

from petapter_registry_server.errors import StoreError
from petapter_registry_server.failpoints import Reached, nothing
from petapter_registry_server.storage.blobs import BlobShelf
from petapter_registry_server.storage.local import LocalBlobStore


def open_store(data: Path, url: str | None, reached: Reached = nothing, *, scratch: Path | None = None) -> BlobShelf:
    """The blobs below the data directory, or those at `s3://bucket[/prefix]`; a bucket is not asked anything yet.

    Endpoint, region and credentials of a bucket come from the usual `AWS_…` variables of the environment.

    Args:
        data: The data directory.
        url: The bucket; None for the directory.
        reached: Called at the named places of failpoints.py.
        scratch: A scratch folder of this process alone; None takes the common one of the directory.

    Raises:
        StoreError: The address is none that is understood, or obstore is not installed.
    """
    if url is None:
        return LocalBlobStore(data, scratch, reached)
    _require_obstore()
    from petapter_registry_server.storage.buckets import open_bucket  # noqa: PLC0415 (needs obstore)
    from petapter_registry_server.storage.objects import ObjectBlobStore  # noqa: PLC0415 (needs obstore)

    return ObjectBlobStore(open_bucket(url), scratch or data / "scratch")


def open_checked_store(
    data: Path, url: str | None, reached: Reached = nothing, *, scratch: Path | None = None
) -> BlobShelf:
    """As `open_store`, and a bucket has to refuse a second write of a key.

    Raises:
        StoreError: As `open_store`, or the store cannot be reached or trusted.
    """
    if url is not None:
        _require_obstore()
        from petapter_registry_server.storage.buckets import check_store, open_bucket  # noqa: PLC0415 (needs obstore)

        check_store(open_bucket(url))
    return open_store(data, url, reached, scratch=scratch)


def _require_obstore() -> None:
    if find_spec("obstore") is None:
        raise StoreError("blobs in an object store need one more package: pip install 'petapter[scale]'")
