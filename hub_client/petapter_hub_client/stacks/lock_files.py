"""Reads and writes stack.lock, and says whether a lock is still that of its stack."""

from petapter_hub_client.ensembles import digest_of, name_file
from petapter_hub_client.stacks.reading import Stack
from petapter_schemas.durable import write_file_durably
from petapter_schemas.errors import StackError
from petapter_schemas.stack import MAX_LOCK_BYTES, LockedModule, StackLock, lock_bytes, parse_lock


def read_lock(stack: Stack) -> StackLock | None:
    """The lock beside a stack.yaml; None where there is none.

    Raises:
        StackError: It cannot be read, or is no lock.
    """
    try:
        with stack.lock_path.open("rb") as stream:
            data = stream.read(MAX_LOCK_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StackError(f"{stack.lock_path} cannot be read: {error.strerror}") from error
    return parse_lock(data, source=str(stack.lock_path))


def write_lock(stack: Stack, lock: StackLock) -> bool:
    """Write the lock of a stack, whole or not at all; False if it stands there already."""
    data = lock_bytes(lock)
    if stack.lock_path.is_file() and stack.lock_path.read_bytes() == data:
        return False
    write_file_durably(stack.lock_path, data)
    return True


def staleness(stack: Stack, lock: StackLock | None) -> str | None:
    """Why a lock is not that of its stack, as half a sentence; None if it is. Asks no remote, hashes no weights."""
    if lock is None:
        return f"there is no {stack.lock_path}"
    if not lock.is_of(stack.spec):
        return f"{stack.path} was changed since {stack.lock_path} was written"
    for module in lock.modules:
        if module.commit is None and not _is_as_locked(stack, module):
            return f"{module.name}: {module.asked} was changed since {stack.lock_path} was written"
    return None


def _is_as_locked(stack: Stack, module: LockedModule) -> bool:
    directory = stack.directory(module.asked)
    return name_file(directory).is_file() and digest_of(directory) == module.digest
