"""The base of every value that crosses a boundary: immutable, nothing extra, finite numbers only."""

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """Immutable value that refuses unknown fields, NaN and infinity."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, str_max_length=100_000)
