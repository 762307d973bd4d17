"""SemVer in the registry: which tags name versions, which version is the latest, and which one search shows."""

from collections.abc import Iterable

from semver import Version

from petapter_registry_server.db.module_tables import ModuleVersion

TAG_PREFIX = "v"


def version_of_tag(tag: str) -> str | None:
    """The version that a tag such as `v1.2.0` names, or None when it names none."""
    text = tag.removeprefix(TAG_PREFIX)
    return text if tag.startswith(TAG_PREFIX) and Version.is_valid(text) else None


def newest_first(versions: Iterable[ModuleVersion]) -> list[ModuleVersion]:
    """All versions by precedence, the highest first."""
    return sorted(versions, key=lambda version: Version.parse(version.version), reverse=True)


def latest(versions: Iterable[ModuleVersion]) -> ModuleVersion | None:
    """The highest version that is neither yanked nor a pre-release."""
    kept = (version for version in newest_first(versions) if version.yanked_ms is None)
    return next((version for version in kept if Version.parse(version.version).prerelease is None), None)


def searched(versions: Iterable[ModuleVersion]) -> ModuleVersion | None:
    """What search looks at: the latest version, or the highest pre-release where there is nothing else."""
    listed = list(versions)
    kept = (version for version in newest_first(listed) if version.yanked_ms is None)
    return latest(listed) or next(kept, None)
