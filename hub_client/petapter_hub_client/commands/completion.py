# ruff: noqa: PLC0415 (completion runs at every press of the tab key, and must be as quick as the rest)
"""What the shell offers at the tab key: remotes, cached modules and directories; no remote is ever asked."""

from pathlib import Path

from petapter_schemas.errors import PetapterError


def complete_remote(incomplete: str) -> list[str]:
    """The names of remotes."""
    from petapter_hub_client.remotes import list_remotes

    try:
        return [remote.name for remote in list_remotes() if remote.name.startswith(incomplete)]
    except PetapterError:  # a broken remotes.json: the command itself will say so
        return []


def complete_reference(incomplete: str) -> list[str]:
    """References of cached modules, and the remotes that references begin with."""
    from petapter_hub_client.cached_modules import list_references

    try:
        known = list_references()
    except (PetapterError, OSError):
        known = []
    remotes = [] if ":" in incomplete else [f"{name}:" for name in complete_remote(incomplete)]
    return [name for name in (*known, *remotes) if name.startswith(incomplete)]


def complete_module(incomplete: str) -> list[str]:
    """Those, and directories."""
    return [*complete_reference(incomplete), *_directories(incomplete)]


def _directories(incomplete: str) -> list[str]:
    parent = Path(incomplete) if incomplete.endswith("/") else Path(incomplete).parent
    prefix = "" if str(parent) == "." and not incomplete.startswith("./") else f"{str(parent).rstrip('/')}/"
    try:
        names = sorted(path.name for path in parent.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError:
        return []
    return [name for name in (f"{prefix}{name}/" for name in names) if name.startswith(incomplete)]
