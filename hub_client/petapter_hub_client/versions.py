"""How versions are written as tags, and which of them is newest."""

from collections.abc import Iterable

from semver import Version

_PREFIX = "v"


def version_tag(version: str) -> str:
    """The tag of a version: `v1.2.0`."""
    return f"{_PREFIX}{version}"


def read_version(tag: str) -> Version | None:
    """The version that a tag names, or None when it names none."""
    if not tag.startswith(_PREFIX):
        return None
    try:
        return Version.parse(tag.removeprefix(_PREFIX))
    except ValueError:
        return None


def newest_tag(tags: Iterable[str]) -> str | None:
    """The tag of the newest version; a pre-release only when there is no other. None when no tag is a version."""
    versions = {tag: version for tag in tags if (version := read_version(tag)) is not None}
    if not versions:
        return None
    return max(versions, key=lambda tag: (versions[tag].prerelease is None, versions[tag]))


def newest_tags(tags: Iterable[str]) -> list[str]:
    """The tags of versions, the newest first."""
    versions = {tag: version for tag in tags if (version := read_version(tag)) is not None}
    return sorted(versions, key=lambda tag: versions[tag], reverse=True)
