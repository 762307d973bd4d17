"""With which code a command ends, by the kind of what went wrong; hub_client/README.md has the same table."""

from enum import IntEnum

from petapter_schemas.errors import (
    AuthenticationError,
    BackboneMismatchError,
    ModuleError,
    PetapterError,
    RemoteError,
    RemoteNotFoundError,
    VersionConflictError,
)


class ExitCode(IntEnum):
    """What scripts may rely on."""

    DONE = 0
    REFUSED = 1
    USAGE = 2
    REMOTE_FAILED = 3
    NOT_FOUND = 4
    NOT_ALLOWED = 5
    UNFIT_MODULE = 6
    CONFLICT = 7
    DRIFTED = 8
    DEMANDS_ACTION = 9
    NOT_REPRODUCED = 10
    INTERRUPTED = 130


_BY_KIND: tuple[tuple[type[PetapterError], ExitCode], ...] = (
    (RemoteNotFoundError, ExitCode.NOT_FOUND),
    (AuthenticationError, ExitCode.NOT_ALLOWED),
    (VersionConflictError, ExitCode.CONFLICT),
    (RemoteError, ExitCode.REMOTE_FAILED),
    (ModuleError, ExitCode.UNFIT_MODULE),
    (BackboneMismatchError, ExitCode.UNFIT_MODULE),
)


def exit_code(error: PetapterError) -> ExitCode:
    """The code of an error; the first kind that it is of counts."""
    return next((code for kind, code in _BY_KIND if isinstance(error, kind)), ExitCode.REFUSED)
