"""What channels point to: `latest` to the highest version, others to where somebody set them."""

from sqlalchemy.orm import Session

from petapter_registry_server.db import versions
from petapter_registry_server.db.tables import Repository
from petapter_registry_server.services import version_order

LATEST = "latest"
STABLE = "stable"


def resolve_channel(session: Session, repository: Repository, name: str) -> str | None:
    """The commit that a channel points to; None when there is no such channel."""
    if name == LATEST:
        newest = version_order.latest(versions.list_versions(session, repository.id))
        return newest.commit_oid if newest else None
    move = versions.find_channel(session, repository.id, name)
    version = versions.find_version(session, repository.id, move.version) if move and move.version else None
    return version.commit_oid if version else None
