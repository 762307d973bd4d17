"""`evaluation-set.json`, format version 1: labelled rows under a name and a version, which figures are measured on.

A figure in a manifest names its rows by `rows_sha256`; so does an evaluation set, and that binds the two. The rows
themselves may be kept back: whoever has them can tell that they are the same (evaluation_rows.py).
"""

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from petapter_schemas import strict_json
from petapter_schemas.digests import Sha256
from petapter_schemas.documents import parse_document
from petapter_schemas.frozen import Frozen
from petapter_schemas.manifest import Description, Language, License, RequiredText
from petapter_schemas.names import ONE_LINE, LabelName, ModuleName, label_key
from petapter_schemas.sem_ver import SemVer
from petapter_schemas.task import MASK_FIELD, FieldName

EVALUATION_SET_FILE = "evaluation-set.json"
LABEL = "label"
"""The key of a row that holds its label; no text field is called so."""
MAX_ROWS = 1_000_000

RowCount = Annotated[int, Field(ge=0, le=MAX_ROWS)]


class EvaluationSetSpec(Frozen):
    """The whole evaluation-set.json.

    Attributes:
        source: Where the rows come from, for whoever has to fetch them: an address, a paper, a name.
        fields: The text fields of every row, in ascending order.
        labels: The label set, in ascending order: a row has one of them or, in a multi-label set, some.
        counts: By label, how many rows have it.
        split: Which part of its source the set is.
        n: How many rows.
        rows_sha256: The digest of the rows, as in manifests.
    """

    schema_version: Literal[1] = 1  # written always; `parse_evaluation_set` refuses a file without it
    name: ModuleName
    version: SemVer
    description: Description = ""
    license: License | None = None
    languages: tuple[Language, ...] = ()
    source: Annotated[str, StringConstraints(max_length=500), ONE_LINE] = ""
    type: Literal["single-label", "multi-label"] = "single-label"
    fields: Annotated[tuple[FieldName, ...], Field(min_length=1, max_length=16)] = ("text",)
    labels: Annotated[tuple[LabelName, ...], Field(min_length=2, max_length=4096)]
    counts: tuple[RowCount, ...]
    split: RequiredText
    n: Annotated[int, Field(ge=1, le=MAX_ROWS)]
    rows_sha256: Sha256

    @model_validator(mode="after")
    def _fields_are_a_set(self) -> Self:
        if list(self.fields) != sorted(set(self.fields)):
            raise ValueError("fields must be named once each, in ascending order")
        if taken := {LABEL, MASK_FIELD} & set(self.fields):
            raise ValueError(f"no text field may be called {min(taken)!r}")
        return self

    @model_validator(mode="after")
    def _labels_are_a_set(self) -> Self:
        if list(self.labels) != sorted(self.labels):
            raise ValueError("labels must be in ascending order")
        keys = [label_key(label) for label in self.labels]
        if len(set(keys)) < len(keys):
            twice = next(label for label, key in zip(self.labels, keys, strict=True) if keys.count(key) > 1)
            raise ValueError(f"two labels look like {twice!r}: name each label once")
        return self

    @model_validator(mode="after")
    def _counts_fit(self) -> Self:
        if len(self.counts) != len(self.labels):
            raise ValueError("counts must have one number per label")
        if self.type == "single-label" and sum(self.counts) != self.n:
            raise ValueError(f"counts of a single-label set must add up to n, {self.n}: they are {sum(self.counts)}")
        if max(self.counts) > self.n:
            raise ValueError(f"a label cannot have more than all {self.n} rows")
        return self

    @property
    def digest(self) -> str:
        """What names this version of the set, rows and all: the digest of the document's canonical JSON."""
        return strict_json.canonical_sha256(self.model_dump(mode="json"))


def parse_evaluation_set(data: bytes, *, source: str = EVALUATION_SET_FILE) -> EvaluationSetSpec:
    """Read the bytes of an evaluation-set.json.

    Raises:
        ManifestError: They are none of format version 1.
    """
    return parse_document(EvaluationSetSpec, data, source=source, what="evaluation set")


def evaluation_set_bytes(spec: EvaluationSetSpec) -> bytes:
    """The bytes of evaluation-set.json: indented for readers, with a newline at the end."""
    return spec.model_dump_json(indent=2).encode() + b"\n"
