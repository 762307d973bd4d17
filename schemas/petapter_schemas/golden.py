"""golden.json: probe texts and the label log-probabilities a module must reproduce on any machine."""

from functools import lru_cache
from typing import Annotated, Self

from pydantic import Field, ValidationError, model_validator

from petapter_schemas import strict_json
from petapter_schemas.errors import ManifestError
from petapter_schemas.frozen import Frozen
from petapter_schemas.messages import first_problem

GOLDEN_FILE = "golden.json"


class Probe(Frozen):
    """A text and the log-probability of each label, in label order, over all patterns of the module."""

    fields: dict[str, str]
    log_probabilities: tuple[Annotated[float, Field(le=0)], ...]


class Golden(Frozen):
    """8 to 32 probes; `tolerance` bounds the absolute difference of each log-probability in float32."""

    tolerance: Annotated[float, Field(gt=0, le=1)] = 1e-3
    probes: tuple[Probe, ...] = Field(min_length=8, max_length=32)

    @model_validator(mode="after")
    def _same_labels(self) -> Self:
        if len({len(probe.log_probabilities) for probe in self.probes}) != 1:
            raise ValueError("all probes must have the same number of labels")
        return self


@lru_cache(maxsize=8)  # as parse_manifest
def parse_golden(data: bytes) -> Golden:
    """Read golden.json; of the same bytes it is the same value.

    Raises:
        ManifestError: The bytes break the format.
    """
    strict_json.loads(data, source=GOLDEN_FILE)
    try:
        return Golden.model_validate_json(data, strict=True)
    except ValidationError as error:
        raise ManifestError(f"{GOLDEN_FILE} breaks the format: {first_problem(error)}") from error
