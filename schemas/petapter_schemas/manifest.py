"""The manifest `petapter.json`, format version 1: everything about a module except its weights."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, ValidationError, field_validator, model_validator

from petapter_schemas import strict_json
from petapter_schemas.digests import Sha256, sha256_bytes
from petapter_schemas.errors import ManifestError
from petapter_schemas.frozen import Frozen
from petapter_schemas.messages import first_problem
from petapter_schemas.names import FilePath, ModuleName
from petapter_schemas.task import TaskSpec

MANIFEST_FILE = "petapter.json"

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
Language = Annotated[str, StringConstraints(pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$")]
License = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9.+-]{0,63}$")]
ShortText = Annotated[str, StringConstraints(max_length=200)]
Count = Annotated[int, Field(ge=0)]
Dtype = Literal["float32", "float16", "bfloat16", "int8"]

AdapterKind = Literal["lora", "ia3", "bottleneck", "bitfit", "none"]
HeadPart = Literal["rows", "bias", "dense", "norm"]


class BackboneSpec(Frozen):
    """The masked language model a module was trained on, and how its tokenizer reads the verbalizer.

    `verbalizer_ids` holds token ids by label, then word, then position, in the order of `TaskSpec.labels`.
    The digests are defined in schemas/README.md.
    """

    repo: Annotated[str, StringConstraints(min_length=1, max_length=300)]
    revision: ShortText | None = None
    architecture: ShortText
    config_sha256: Sha256
    weights_sha256: Sha256
    tokenizer_sha256: Sha256
    mask_id: Count
    vocab_size: Annotated[int, Field(ge=1)]
    hidden_size: Annotated[int, Field(ge=1)]
    layers: Annotated[int, Field(ge=1)]
    verbalizer_ids: tuple[tuple[tuple[Count, ...], ...], ...]


class AdapterSpec(Frozen):
    """What was added inside the backbone. `layers` None means all; `parameters` counts trained numbers."""

    kind: AdapterKind
    rank: Annotated[int, Field(ge=1)] | None = None
    alpha: Annotated[float, Field(gt=0)] | None = None
    targets: tuple[ShortText, ...] = ()
    layers: tuple[Count, ...] | None = None
    parameters: Count
    dtype: Dtype = "float32"

    @model_validator(mode="after")
    def _rank_belongs_to_lora(self) -> Self:
        if (self.kind == "lora") != (self.rank is not None and self.alpha is not None):
            raise ValueError("rank and alpha belong to a lora adapter, and a lora adapter needs both")
        if (self.kind == "none") != (self.parameters == 0):
            raise ValueError("an adapter of kind 'none' has 0 parameters, and only that one")
        return self


class HeadSpec(Frozen):
    """How hidden states become label scores. `parts` names what head.safetensors holds because it was trained."""

    reads: Literal["mask", "mean-pool", "both"] = "mask"
    init: Literal["mlm", "random"] = "mlm"
    parts: tuple[HeadPart, ...]
    activation: ShortText
    norm: Literal["layer-norm", "none"] = "layer-norm"
    norm_eps: Annotated[float, Field(gt=0)] = 1e-12
    parameters: Annotated[int, Field(ge=1)]
    dtype: Dtype = "float32"

    @field_validator("parts")
    @classmethod
    def _holds_rows(cls, parts: tuple[HeadPart, ...]) -> tuple[HeadPart, ...]:
        if "rows" not in parts or len(set(parts)) < len(parts):
            raise ValueError("parts must name 'rows', and each part once")
        return parts


class CalibrationSpec(Frozen):
    """probabilities = softmax(logits / temperature + class_bias); below `abstain_below` the answer is none."""

    temperature: Annotated[float, Field(gt=0)] = 1.0
    class_bias: tuple[float, ...] | None = None
    abstain_below: Annotated[float, Field(ge=0, le=1)] | None = None
    abstain_error_rate: Annotated[float, Field(ge=0, le=1)] | None = None


class TrainingSpec(Frozen):
    """How the module came to be; enough to train it again where the rows are at hand."""

    preset: ShortText
    examples_per_class: tuple[Count, ...]
    rows_sha256: Sha256
    seeds: tuple[int, ...]
    steps: Count
    seconds: Annotated[float, Field(ge=0)]
    peak_memory_bytes: Count
    hardware: ShortText
    libraries: dict[ShortText, ShortText]
    hyperparameters: dict[ShortText, bool | int | float | ShortText]


class EvaluationSet(Frozen):
    """The rows a metric was measured on, named by the digest of their canonical form."""

    name: ShortText
    sha256: Sha256
    split: ShortText
    n: Annotated[int, Field(ge=1)]


class Interval(Frozen):
    """A confidence interval and how it was made."""

    low: float
    high: float
    level: Annotated[float, Field(gt=0, lt=1)] = 0.95
    method: ShortText = "bootstrap"

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low > self.high:
            raise ValueError("an interval's low end must not exceed its high end")
        return self


class EvaluationSpec(Frozen):
    """One measured figure; it always says on what, with which seeds, and how sure."""

    metric: ShortText
    value: float
    interval: Interval
    evaluation_set: EvaluationSet
    seeds: tuple[int, ...]
    status: Literal["declared", "reproduced", "verified", "disputed"] = "declared"


class FileSpec(Frozen):
    """A file of the module as the manifest promises it."""

    path: FilePath
    size: Count
    sha256: Sha256


class LineageSpec(Frozen):
    """Where the module comes from: the digest of its parent's manifest and the references it was trained from."""

    parent: Sha256 | None = None
    trained_from: tuple[ShortText, ...] = ()


class Manifest(Frozen):
    """The whole manifest. `files` lists every other file; the sha256 of petapter.json itself names the version."""

    schema_version: Literal[1] = 1
    name: ModuleName
    version: SemVer
    description: str = Field(default="", max_length=4000)
    license: License | None = None
    languages: tuple[Language, ...] = ()
    task: TaskSpec
    backbone: BackboneSpec
    adapter: AdapterSpec
    head: HeadSpec
    calibration: CalibrationSpec | None = None
    training: TrainingSpec
    evaluation: tuple[EvaluationSpec, ...] = ()
    files: tuple[FileSpec, ...]
    lineage: LineageSpec = LineageSpec()

    @model_validator(mode="after")
    def _verbalizer_fits_task(self) -> Self:
        words = tuple(len(label.words) for label in self.task.labels)
        if tuple(len(label) for label in self.backbone.verbalizer_ids) != words:
            raise ValueError("backbone.verbalizer_ids must hold one entry per label and word of the task")
        masks = min(pattern.masks for pattern in self.task.patterns)
        for ids in self.word_ids:
            if not 1 <= len(ids) <= masks or max(ids) >= self.backbone.vocab_size:
                raise ValueError(f"each verbalizer word must be 1 to {masks} token ids below vocab_size")
        return self

    @model_validator(mode="after")
    def _counts_fit_labels(self) -> Self:
        if len(self.training.examples_per_class) != len(self.task.labels):
            raise ValueError("training.examples_per_class must have one count per label")
        bias = self.calibration.class_bias if self.calibration else None
        if bias is not None and len(bias) != len(self.task.labels):
            raise ValueError("calibration.class_bias must have one number per label")
        return self

    @model_validator(mode="after")
    def _lists_each_file_once(self) -> Self:
        paths = [file.path.casefold() for file in self.files]
        if len(set(paths)) < len(paths) or MANIFEST_FILE in paths:
            raise ValueError("files must list every file once, and not petapter.json")
        return self

    @property
    def word_ids(self) -> tuple[tuple[int, ...], ...]:
        """Token ids of all words of all labels."""
        return tuple(ids for label in self.backbone.verbalizer_ids for ids in label)

    @property
    def row_token_ids(self) -> tuple[int, ...]:
        """Distinct verbalizer token ids, ascending: the order of the rows in head.safetensors, length T."""
        return tuple(sorted({token for ids in self.word_ids for token in ids}))


def parse_manifest(data: bytes) -> Manifest:
    """Read a manifest from the bytes of petapter.json.

    Raises:
        ManifestError: The bytes are no manifest of format version 1.
    """
    document = strict_json.loads(data, source=MANIFEST_FILE)
    version = document.get("schema_version") if isinstance(document, dict) else None
    if isinstance(version, int) and version > 1:
        raise ManifestError(f"{MANIFEST_FILE} has format version {version}; this petapter reads 1: upgrade petapter")
    try:
        return Manifest.model_validate_json(data, strict=True)
    except ValidationError as error:
        raise ManifestError(f"{MANIFEST_FILE} breaks the format: {first_problem(error)}") from error


def read_manifest(directory: Path) -> Manifest:
    """Read the manifest of a module directory.

    Raises:
        ManifestError: There is none, or it breaks the format.
    """
    try:
        data = (directory / MANIFEST_FILE).read_bytes()
    except OSError as error:
        raise ManifestError(f"{directory} is no module directory: it has no readable {MANIFEST_FILE}") from error
    return parse_manifest(data)


def manifest_bytes(manifest: Manifest) -> bytes:
    """The bytes of petapter.json: indented for readers, with a newline at the end."""
    return manifest.model_dump_json(indent=2).encode() + b"\n"


def manifest_digest(data: bytes) -> str:
    """The digest that names a module version: hex sha256 of the bytes of petapter.json."""
    return sha256_bytes(data)
