"""How versions are written: SemVer 2.0.0."""

from typing import Annotated

from pydantic import StringConstraints

SemVer = Annotated[
    str,
    StringConstraints(
        max_length=100,
        # https://semver.org, "Is there a suggested regular expression", without the capture groups
        pattern=r"^(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)"
        r"(-(0|[1-9][0-9]*|[0-9]*[a-zA-Z-][0-9a-zA-Z-]*)(\.(0|[1-9][0-9]*|[0-9]*[a-zA-Z-][0-9a-zA-Z-]*))*)?"
        r"(\+[0-9a-zA-Z-]+(\.[0-9a-zA-Z-]+)*)?$",
    ),
]
