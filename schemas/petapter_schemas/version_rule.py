"""Which version may be published after which: upwards, or a patch to an older line of versions."""

from collections.abc import Iterable
from typing import Protocol, Self, TypeVar


class Ordered(Protocol):
    """A parsed SemVer version; `semver.Version` is one."""

    @property
    def major(self) -> int:
        """The first number."""

    @property
    def minor(self) -> int:
        """The second number."""

    def __lt__(self, other: Self, /) -> bool:
        """Whether it has a lower precedence."""


Parsed = TypeVar("Parsed", bound=Ordered)


def blocking_version(new: Parsed, published: Iterable[Parsed]) -> Parsed | None:
    """The highest published version that forbids `new`; None when `new` may be published.

    A version must be higher than every published one, or be a patch: higher than every published one of the same
    MAJOR.MINOR, of which there is one at least. Versions that differ in build metadata alone are equally high.
    """
    known = list(published)
    line = [version for version in known if (version.major, version.minor) == (new.major, new.minor)]
    blocking: Parsed | None = None
    for version in line or known:
        if not version < new and (blocking is None or blocking < version):
            blocking = version
    return blocking
