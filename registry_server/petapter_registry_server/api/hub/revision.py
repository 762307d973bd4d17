"""The three path parameters that most routes share, as one value."""

from petapter_registry_server.api.raw_path import Segment
from petapter_registry_server.services.revisions import At


async def revision_of(namespace: Segment, name: Segment, revision: Segment) -> At:
    """The repository and revision of a route `/{namespace}/{name}/…/{revision}`."""
    return At(f"{namespace}/{name}", revision)
