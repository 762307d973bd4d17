"""What a check found in a task or its rows."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """Something the user should know; an error stops the training, a warning is shown."""

    severity: Literal["error", "warning"]
    message: str
