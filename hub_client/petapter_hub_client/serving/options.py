"""How one serving process runs: its limits and its tokens."""

from dataclasses import dataclass, field
from pathlib import Path

from petapter.runtime import BatchLimits
from petapter_schemas.errors import InputError

ADMIN_TOKEN_VARIABLE = "PETAPTER_SERVE_TOKEN"  # noqa: S105 (a variable's name)
PREDICT_TOKEN_VARIABLE = "PETAPTER_SERVE_PREDICT_TOKEN"  # noqa: S105 (likewise)

_MIN_TOKEN_CHARACTERS = 16


@dataclass(frozen=True)
class Tokens:
    """What callers have to know; not shown where an object is printed.

    Attributes:
        admin: For loading and unloading; None switches both off.
        predict: For texts and for reading what is loaded; None lets everybody.
    """

    admin: str | None = field(default=None, repr=False)
    predict: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class ServeOptions:
    """How one serving process runs.

    Attributes:
        batches: How much is run at once, and how much may wait.
        inputs: Texts of one request.
        body_bytes: Of one request.
        module_bytes: As `Engine` takes it.
        cuda_graphs: Likewise, `graphs`.
        check: Whether modules must reproduce their golden outputs before they answer.
        drain_seconds: How long accepted requests may take after a signal.
        tokens: What callers have to know.
    """

    batches: BatchLimits = field(default_factory=BatchLimits)
    inputs: int = 256
    body_bytes: int = 1 << 20
    module_bytes: int | None = None
    cuda_graphs: bool = False
    check: bool = False
    drain_seconds: float = 30
    tokens: Tokens = Tokens()

    def __post_init__(self) -> None:
        if self.inputs > self.batches.waiting:
            raise InputError(
                f"a request of {self.inputs} texts never fits a queue of {self.batches.waiting}: "
                "raise --queue or lower --max-inputs"
            )


def read_token(file: Path | None, variable: str, environment: dict[str, str]) -> str | None:
    """A token from a file or else from a variable; None where neither is given.

    Raises:
        InputError: It is too short to be secret, or no line of ASCII.
    """
    if file is None and variable not in environment:
        return None
    token = (file.read_bytes() if file is not None else environment[variable].encode()).strip()
    source = str(file) if file is not None else variable
    if len(token) < _MIN_TOKEN_CHARACTERS or not token.isascii() or len(token.split()) > 1:
        raise InputError(
            f"{source} holds no usable token: write one line of {_MIN_TOKEN_CHARACTERS} or more ASCII characters "
            "there, for example from 'openssl rand -hex 32'"
        )
    return token.decode("ascii")
