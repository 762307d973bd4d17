"""What one check of the doctor found."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """A line of the doctor's report; `text` holds the remedy where one is needed."""

    state: Literal["ok", "warning", "failure"]
    subject: str
    text: str
