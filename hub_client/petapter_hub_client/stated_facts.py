"""What an author says about a module, checked by the format's own rules before minutes of training depend on it."""

from typing import Self

from pydantic import Field, ValidationError

from petapter_schemas.errors import InputError
from petapter_schemas.frozen import Frozen
from petapter_schemas.manifest import Language, License
from petapter_schemas.messages import first_problem
from petapter_schemas.names import ModuleName
from petapter_schemas.sem_ver import SemVer

_RULES = {
    "version": "write MAJOR.MINOR.PATCH, for example 1.2.0",
    "license": "write an SPDX identifier, for example Apache-2.0",
    "languages": "write codes such as en or pt-BR",
    "description": "write at most 4,000 characters",
}


class StatedFacts(Frozen):
    """Name, version, description, license and languages of a module to be."""

    name: ModuleName
    version: SemVer
    description: str = Field(default="", max_length=4000)
    license: License | None = None
    languages: tuple[Language, ...] = ()

    @classmethod
    def check(cls, **facts: object) -> Self:
        """Validate what was given on the command line.

        Raises:
            InputError: A value breaks the format's rules.
        """
        try:
            return cls.model_validate(facts)
        except ValidationError as error:
            field = str(error.errors(include_url=False)[0]["loc"][0])
            raise InputError(
                f"the {field} cannot be {facts[field]!r}: {_RULES.get(field) or _reason(error)}"
            ) from error


def _reason(error: ValidationError) -> str:
    return first_problem(error).partition(": ")[2]
