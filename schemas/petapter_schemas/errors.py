"""All errors that petapter raises on purpose, each naming cause and remedy in one line.

PetapterError
 |- InputError               the caller's data, options or names
 |   |- DataError            labelled rows: missing columns, empty cells, unknown labels
 |   |   '- EstimatorDataError   likewise, given to the scikit-learn estimator
 |   |- TaskError            patterns and verbalizers that cannot work on this backbone
 |   |- StackError           a stack.yaml or stack.lock that breaks the format
 |   |- NotLoadedError       no module is loaded under this alias
 |   |- InvalidNameError     a namespace, module, label or file name that breaks the rules
 |   '- InvalidReferenceError   `[remote:]namespace/name[@revision]` that does not parse
 |- ModuleError              a module directory that must not be used
 |   |- ManifestError        petapter.json or another JSON file breaks the format
 |   |- TensorFileError      a safetensors file breaks the strict rules
 |   |- DigestMismatchError  bytes differ from what the manifest promises
 |   |- SignatureError       a signature is missing that must be there, or does not hold
 |   '- GoldenMismatchError  the module does not reproduce its recorded outputs here
 |- BackboneError            no masked language model can be had from this name or directory
 |   '- BackboneMismatchError   the module was trained on another backbone or tokenizer
 |- CacheError               the client's cache cannot be written, or has no room
 |- BusyError                too much waits to be answered: try again later
 |- ClosedError              nothing more is taken: it is being shut down
 |- StackDriftError          something is not as stack.lock says
 '- RemoteError              a hub or registry said no, or nothing
     |- RemoteUnreachableError   no answer
     |   '- OfflineError         it was not asked, because the user forbade it
     |- AuthenticationError      no token, a wrong token, or one without the right
     |- RemoteNotFoundError      no such module, revision or file
     '- VersionConflictError     the remote already holds this version, a newer one, or a newer commit
"""


class PetapterError(Exception):
    """Root of all errors raised on purpose; `str()` is one line for the user."""


class InputError(PetapterError):
    """The caller's data, options or names cannot be used."""


class DataError(InputError):
    """Labelled rows cannot be used."""


class EstimatorDataError(DataError, ValueError):
    """Rows given to the scikit-learn estimator cannot be used; its tools expect a ValueError."""


class TaskError(InputError):
    """A pattern or verbalizer cannot work."""


class StackError(InputError):
    """A stack.yaml or stack.lock breaks the format."""


class NotLoadedError(InputError):
    """No module is loaded under this alias."""


class InvalidNameError(InputError):
    """A namespace, module, label or file name breaks the rules."""


class InvalidReferenceError(InputError):
    """A text is no `[remote:]namespace/name[@revision]`."""


class ModuleError(PetapterError):
    """A module directory must not be used."""


class ManifestError(ModuleError):
    """A JSON file of a module breaks the format."""


class TensorFileError(ModuleError):
    """A safetensors file breaks the strict rules."""


class DigestMismatchError(ModuleError):
    """Bytes differ from what the manifest promises."""


class SignatureError(ModuleError):
    """A signature is missing that the policy of a remote asks for, or one does not hold."""


class GoldenMismatchError(ModuleError):
    """A module does not reproduce its recorded outputs on this machine."""


class BackboneError(PetapterError):
    """No masked language model can be had from this name or directory."""


class BackboneMismatchError(BackboneError):
    """A module was trained on another backbone or tokenizer."""


class StackDriftError(PetapterError):
    """Something is not as stack.lock says, or there is no lock."""


class CacheError(PetapterError):
    """The client's cache cannot be written, or has no room."""


class BusyError(PetapterError):
    """Too much waits to be answered.

    Attributes:
        retry_after_s: Whole seconds, 1 or more, after which there should be room.
    """

    def __init__(self, message: str, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class ClosedError(PetapterError):
    """Nothing more is taken."""


class RemoteError(PetapterError):
    """A hub or registry refused or failed."""


class RemoteUnreachableError(RemoteError):
    """A hub or registry does not answer."""


class OfflineError(RemoteUnreachableError):
    """A hub or registry was not asked, because the user wants no network."""


class AuthenticationError(RemoteError):
    """No token, a wrong token, or one without the right."""


class RemoteNotFoundError(RemoteError):
    """A remote holds no such module, revision or file."""


class VersionConflictError(RemoteError):
    """A remote already holds this version, a newer one, or a newer commit."""
