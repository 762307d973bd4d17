"""Which kind of file system a path is on, and which kinds SQLite must not be put on."""

from pathlib import Path

_MOUNTS = Path("/proc/mounts")
_NETWORK = frozenset(
    {"afs", "ceph", "cifs", "glusterfs", "lustre", "nfs", "nfs4", "smb3", "smbfs"}
    | {f"fuse.{kind}" for kind in ("ceph", "glusterfs", "goofys", "rclone", "s3fs", "sshfs")}
)


def mounted_kind(path: Path, mounts: str) -> str | None:
    """The kind of file system that a path is on, from the text of /proc/mounts; None when that does not tell."""
    found: tuple[int, str] | None = None
    resolved = path.resolve()
    for line in mounts.splitlines():
        fields = line.split(" ")
        place = Path(fields[1].replace("\\040", " ")) if len(fields) > 2 else None  # noqa: PLR2004 (device, place, kind)
        if place is not None and resolved.is_relative_to(place) and (found is None or len(place.parts) >= found[0]):
            found = (len(place.parts), fields[2])
    return found[1] if found else None


def kind_of(path: Path) -> str | None:
    """As `mounted_kind`, from this machine's mounts; None on systems that have no /proc/mounts."""
    try:
        return mounted_kind(path, _MOUNTS.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return None


def is_network(kind: str | None) -> bool:
    """Whether locks and memory maps of SQLite cannot be trusted there."""
    return kind in _NETWORK
