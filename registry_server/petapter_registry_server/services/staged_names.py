"""How bytes are called that clients send to the object store themselves: for what they are, and until when."""

import re
from dataclasses import dataclass, replace
from typing import Self

_NAME = re.compile(r"([0-9a-f]{64})/(\d{1,19})\.(\d{1,12})\.([0-9a-f]{32})\.(\d{1,9})")


@dataclass(frozen=True)
class StagedName:
    """The name of a file or of a part, which nobody but the registry chooses.

    Attributes:
        folder: Stands for repository, person and sha256, which it does not tell.
        size: Of the whole file, in bytes.
        expires_s: When its address ends, in seconds since 1970.
        nonce: What nobody guesses.
        part: Which part, from 1; 0 is the whole file.
    """

    folder: str
    size: int
    expires_s: int
    nonce: str
    part: int = 0

    def __str__(self) -> str:
        """As the store has it."""
        return f"{self.folder}/{self.size}.{self.expires_s}.{self.nonce}.{self.part}"

    def of_part(self, number: int) -> Self:
        """The name of a part of the same file."""
        return replace(self, part=number)

    @classmethod
    def read(cls, text: str) -> Self | None:
        """The name that a text is; None if it is none."""
        found = _NAME.fullmatch(text)
        return cls(found[1], int(found[2]), int(found[3]), found[4], int(found[5])) if found else None
