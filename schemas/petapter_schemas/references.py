"""How a user names a module: `[remote:]namespace/name[@revision]`."""

import re
from dataclasses import dataclass
from typing import Self

from petapter_schemas.errors import InvalidReferenceError
from petapter_schemas.names import split_repo_id

HUB_REMOTE = "hf"
"""The remote name of the Hugging Face Hub; all others are added by the user."""

_REMOTE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
_MAX_CHARACTERS = 512
_REVISION = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._+/-]{0,126}[A-Za-z0-9])?")


@dataclass(frozen=True)
class Reference:
    """A module on a remote.

    Attributes:
        remote: Name of the remote, or None for the user's default one. There is never a fall-back to a second remote.
        repo_id: `namespace/name`.
        revision: Tag, branch or commit, or None for the remote's default branch.
    """

    remote: str | None
    repo_id: str
    revision: str | None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a reference.

        Raises:
            InvalidReferenceError: The text is not of the form.
            InvalidNameError: The namespace or the name breaks the rules.
        """
        if len(text) > _MAX_CHARACTERS:
            raise InvalidReferenceError(f"{text[:80]!r}… is no module reference: it has {len(text)} characters")
        rest, at, revision = text.partition("@")
        remote, colon, repo_id = rest.rpartition(":")
        if colon and not _REMOTE.fullmatch(remote):
            raise InvalidReferenceError(f"{text!r} is no module reference: {remote!r} cannot be a remote's name")
        if at and not _is_revision(revision):
            raise InvalidReferenceError(f"{text!r} is no module reference: {revision!r} cannot be a revision")
        split_repo_id(repo_id)
        return cls(remote=remote or None, repo_id=repo_id, revision=revision or None)

    def __str__(self) -> str:
        prefix = f"{self.remote}:" if self.remote else ""
        suffix = f"@{self.revision}" if self.revision else ""
        return f"{prefix}{self.repo_id}{suffix}"


def _is_revision(text: str) -> bool:
    """Whether git could call a branch, tag or commit so."""
    parts = text.split("/")
    named_well = not any(part == "" or part.startswith(".") or part.endswith((".", ".lock")) for part in parts)
    return bool(_REVISION.fullmatch(text)) and ".." not in text and named_well


def check_remote_name(name: str) -> str:
    """Return a remote's name unchanged when it is allowed.

    Raises:
        InvalidReferenceError: It breaks the rules.
    """
    if not _REMOTE.fullmatch(name):
        raise InvalidReferenceError(f"remote name {name!r} is not allowed: use letters, digits, '_' and '-'")
    return name
