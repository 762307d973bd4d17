"""What errors of the system mean for a request: a full disk, files that cannot be used now, or a bug."""

import errno
import os

import structlog

from petapter_registry_server.errors import PassingError, StorageFailedError, StorageFullError

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_REFUSED = frozenset(
    {errno.EIO, errno.EMFILE, errno.ENFILE, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOMEM, errno.ESTALE}
)
"""Broken disk, too many open files, a disk that became read-only, missing rights, no memory, a lost NFS server."""


def told(error: OSError) -> PassingError | None:
    """What to tell the client, after the cause is logged without a path; None for what is none of the disk's doing."""
    if error.errno not in _FULL | _REFUSED:
        return None
    structlog.get_logger("petapter_registry_server").error("files", problem=os.strerror(error.errno or 0))
    return StorageFullError() if error.errno in _FULL else StorageFailedError()
