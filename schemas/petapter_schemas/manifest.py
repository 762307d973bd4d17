"""The manifest `petapter.json`, format version 1: everything about a module except its weights."""

from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, ValidationError, field_validator, model_validator

from petapter_schemas import strict_json
from petapter_schemas.adapter_spec import AdapterSpec, Count, Dtype
from petapter_schemas.digests import Sha256, sha256_bytes
from petapter_schemas.errors import ManifestError
from petapter_schemas.frozen import Frozen
from petapter_schemas.merge_spec import MergeSpec
from petapter_schemas.messages import first_problem
from petapter_schemas.names import ONE_LINE, PLAIN_TEXT, FilePath, ModuleName
from petapter_schemas.sem_ver import SemVer
from petapter_schemas.task import TaskSpec

MANIFEST_FILE = "petapter.json"
MAX_FILES = 64
MAX_MODULE_BYTES = 512 << 20
"""All listed files of a module together."""
MAX_FEATURES = 1 << 16
"""Widest head; the backbone's own may be wider than its hidden states, as in ELECTRA's generators."""

Language = Annotated[str, StringConstraints(pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$")]
License = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9.+-]{0,63}$")]
ShortText = Annotated[str, StringConstraints(max_length=200), ONE_LINE]
RequiredText = Annotated[str, StringConstraints(min_length=1, max_length=200), ONE_LINE]
Description = Annotated[str, StringConstraints(max_length=4000), PLAIN_TEXT]

HeadPart = Literal["rows", "bias", "dense", "norm", "labels"]


class BackboneSpec(Frozen):
    """The masked language model a module was trained on, and how its tokenizer reads the verbalizer.

    `verbalizer_ids` holds token ids by label, then word, then position, in the order of `TaskSpec.labels`.
    The digests are defined in schemas/README.md.
    """

    repo: Annotated[str, StringConstraints(min_length=1, max_length=300), ONE_LINE]
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

    @property
    def digests(self) -> tuple[Sha256, Sha256, Sha256]:
        """What decides whether two backbones are the same: of configuration, weights and tokenizer."""
        return self.config_sha256, self.weights_sha256, self.tokenizer_sha256


class HeadSpec(Frozen):
    """How hidden states become label scores (schemas/README.md, "Scores").

    `parts` names what head.safetensors holds because it was trained; without any there is no such file. `pool_layers`
    are the hidden states whose mean over the text is read, 0 being the embeddings; `feature_size` is the width of
    what the rows read where it is not the hidden size; `words` weighs the score of the label words.
    """

    reads: Literal["mask", "mean-pool", "both"] = "mask"
    pool_layers: tuple[Count, ...] = ()
    words: Annotated[float, Field(ge=0)] = 1.0
    init: Literal["mlm", "random"] = "mlm"
    parts: tuple[HeadPart, ...]
    activation: ShortText
    norm: Literal["layer-norm", "none"] = "layer-norm"
    norm_eps: Annotated[float, Field(gt=0)] = 1e-12
    feature_size: Annotated[int, Field(ge=1, le=MAX_FEATURES)] | None = None
    parameters: Count
    dtype: Dtype = "float32"

    @field_validator("parts", "pool_layers")
    @classmethod
    def _each_once(cls, items: tuple[object, ...]) -> tuple[object, ...]:
        if len(set(items)) < len(items):
            raise ValueError("must name each one once")
        return items

    @model_validator(mode="after")
    def _pools_what_it_reads(self) -> Self:
        if (self.reads == "mask") == bool(self.pool_layers):
            raise ValueError("pool_layers must be given where a head reads more than the mask, and only there")
        if self.reads != "mask" and "labels" not in self.parts:
            raise ValueError("a head that pools the text needs the part 'labels'")
        return self

    @model_validator(mode="after")
    def _trains_what_it_has(self) -> Self:
        if self.norm == "none" and "norm" in self.parts:
            raise ValueError("a head whose norm is 'none' has no part 'norm'")
        if self.words == 0 and "labels" not in self.parts:
            raise ValueError("a head whose words weigh 0 needs the part 'labels'")
        if unused := set(self.parts) - {"labels"} - self._used:
            raise ValueError(f"a head that never uses its {min(unused)} must not hold it")
        if self.init == "mlm" and self.norm == "none":
            raise ValueError("a head that began at a masked LM has its LayerNorm")
        if (self.parameters == 0) != (not self.parts):
            raise ValueError("a head without parts has 0 parameters, and only that one")
        if self.init == "random" and (lost := self._used - set(self.parts)):
            raise ValueError(f"a head that began at random must hold its {min(lost)}: it is nowhere else")
        return self

    @property
    def _used(self) -> set[str]:
        """Parts that scores are made of, besides the label map; what is not stored is the backbone's."""
        masked = {"dense"} | ({"norm"} if self.norm == "layer-norm" else set())
        rows = {"rows", "bias"} if self.words else set()
        return rows | (masked if self.words or self.reads != "mean-pool" else set())


class CalibrationSpec(Frozen):
    """probabilities = softmax(logits / temperature + class_bias); below `abstain_below` the answer is none.

    `abstain_error_rate` is the largest share of all texts, answered or not, that is expected to get a wrong answer.
    Of a multi-label task the probabilities are sigmoid(logits / temperature + class_bias), and a text is given the
    labels whose probability reaches their threshold, 0.5 where there are no `thresholds`.
    """

    temperature: Annotated[float, Field(gt=0)] = 1.0
    class_bias: tuple[float, ...] | None = None
    abstain_below: Annotated[float, Field(ge=0, le=1)] | None = None
    abstain_error_rate: Annotated[float, Field(ge=0, le=1)] | None = None
    thresholds: tuple[Annotated[float, Field(ge=0, le=1)], ...] | None = None

    @model_validator(mode="after")
    def _rate_has_threshold(self) -> Self:
        if self.abstain_error_rate is not None and self.abstain_below is None:
            raise ValueError("abstain_error_rate says nothing without abstain_below")
        return self


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

    name: RequiredText
    sha256: Sha256
    split: RequiredText
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


class ReliabilityBin(Frozen):
    """Rows of similar confidence, equally many in each bin: the mean of what the module says, and the share right."""

    confidence: Annotated[float, Field(ge=0, le=1)]
    accuracy: Annotated[float, Field(ge=0, le=1)]


class EvaluationSpec(Frozen):
    """One measured figure; it always says on what, with which seeds, and how sure. Only `ece` has `reliability`."""

    metric: RequiredText
    value: float
    interval: Interval
    evaluation_set: EvaluationSet
    seeds: tuple[int, ...]
    status: Literal["declared", "reproduced", "verified", "disputed"] = "declared"
    reliability: Annotated[tuple[ReliabilityBin, ...], Field(max_length=100)] = ()


class FileSpec(Frozen):
    """A file of the module as the manifest promises it."""

    path: FilePath
    size: Count
    sha256: Sha256


class LineageSpec(Frozen):
    """Where the module comes from: the digest of its parent's manifest and the references it was trained from.

    `merge` says which modules were averaged; the references of those that were pulled stand in `trained_from`.
    """

    parent: Sha256 | None = None
    trained_from: tuple[ShortText, ...] = ()
    merge: MergeSpec | None = None


class Manifest(Frozen):
    """The whole manifest. `files` lists every other file; the sha256 of petapter.json itself names the version."""

    schema_version: Literal[1] = 1  # written always; `parse_manifest` refuses a manifest without it
    name: ModuleName
    version: SemVer
    description: Description = ""
    license: License | None = None
    languages: tuple[Language, ...] = ()
    task: TaskSpec
    backbone: BackboneSpec
    adapter: AdapterSpec
    head: HeadSpec
    calibration: CalibrationSpec | None = None
    training: TrainingSpec
    evaluation: tuple[EvaluationSpec, ...] = ()
    files: tuple[FileSpec, ...] = Field(max_length=MAX_FILES)
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
        if len(set(self.word_ids)) < len(self.word_ids):
            raise ValueError("two words are the same token ids, so they cannot be told apart: choose another word")
        return self

    @model_validator(mode="after")
    def _fits_backbone(self) -> Self:
        if self.backbone.mask_id >= self.backbone.vocab_size or self.backbone.mask_id in self.row_token_ids:
            raise ValueError("backbone.mask_id must be below vocab_size and no part of a word")
        if any(layer > self.backbone.layers for layer in self.head.pool_layers):
            raise ValueError(f"head.pool_layers must be at most the backbone's {self.backbone.layers} layers")
        if self.adapter.layers is not None and any(layer >= self.backbone.layers for layer in self.adapter.layers):
            raise ValueError(f"adapter.layers must be below the backbone's {self.backbone.layers} layers")
        if (self.adapter.reduction or 1) > self.backbone.hidden_size:
            raise ValueError("adapter.reduction must be at most backbone.hidden_size, so that a neuron is left")
        return self

    @model_validator(mode="after")
    def _counts_fit_labels(self) -> Self:
        if len(self.training.examples_per_class) != len(self.task.labels):
            raise ValueError("training.examples_per_class must have one count per label")
        bias = self.calibration.class_bias if self.calibration else None
        if bias is not None and len(bias) != len(self.task.labels):
            raise ValueError("calibration.class_bias must have one number per label")
        thresholds = self.calibration.thresholds if self.calibration else None
        if thresholds is not None and (self.task.type, len(thresholds)) != ("multi-label", len(self.task.labels)):
            raise ValueError("calibration.thresholds belong to multi-label tasks and have one number per label")
        return self

    @model_validator(mode="after")
    def _lists_each_file_once(self) -> Self:
        paths = [file.path.casefold() for file in self.files]
        if len(set(paths)) < len(paths) or MANIFEST_FILE in paths:
            raise ValueError("files must list every file once, and not petapter.json")
        folders = {"/".join(path.split("/")[:depth]) for path in paths for depth in range(1, path.count("/") + 1)}
        if clash := folders & {*paths, MANIFEST_FILE}:
            raise ValueError(f"files lists {min(clash)!r} as a file and as a folder")
        if (total := sum(file.size for file in self.files)) > MAX_MODULE_BYTES:
            raise ValueError(f"the files have {total} bytes together, more than the {MAX_MODULE_BYTES} allowed")
        return self

    @property
    def word_ids(self) -> tuple[tuple[int, ...], ...]:
        """Token ids of all words of all labels."""
        return tuple(ids for label in self.backbone.verbalizer_ids for ids in label)

    @property
    def row_token_ids(self) -> tuple[int, ...]:
        """Distinct verbalizer token ids, ascending: the order of the rows in head.safetensors, length T."""
        return tuple(sorted({token for ids in self.word_ids for token in ids}))


@lru_cache(maxsize=8)  # a load reads one file up to five times, and each parse keeps other threads waiting
def parse_manifest(data: bytes) -> Manifest:
    """Read a manifest from the bytes of petapter.json; of the same bytes it is the same value.

    Raises:
        ManifestError: The bytes are no manifest of format version 1.
    """
    document = strict_json.loads(data, source=MANIFEST_FILE)
    strict_json.check_version(document, source=MANIFEST_FILE, what="manifest")
    try:
        manifest = Manifest.model_validate_json(data, strict=True)
    except ValidationError as error:
        raise ManifestError(f"{MANIFEST_FILE} breaks the format: {first_problem(error)}") from error
    if (where := _first_difference(document, manifest.model_dump(mode="json"))) is not None:
        raise ManifestError(
            f"{MANIFEST_FILE} breaks the format: {where} is written in a form that only task files allow"
        )
    return manifest


def _first_difference(written: object, read: object) -> str | None:
    """Where a value was changed by reading (short forms of labels and patterns, spaces around words); None if nowhere.

    Every reader of the format must see the same task, also one that knows no short forms.
    """
    if isinstance(written, dict) and isinstance(read, dict):
        inner = ((str(key), value, read.get(key)) for key, value in written.items())
    elif isinstance(written, list) and isinstance(read, list) and len(written) == len(read):
        inner = ((str(i), *pair) for i, pair in enumerate(zip(written, read, strict=True)))
    else:
        return None if written == read else ""
    for key, before, after in inner:
        if (where := _first_difference(before, after)) is not None:
            return f"{key}.{where}".rstrip(".")
    return None


def read_manifest(directory: Path) -> Manifest:
    """Read the manifest of a module directory.

    Raises:
        ManifestError: There is none, or it breaks the format.
    """
    try:
        with (directory / MANIFEST_FILE).open("rb") as stream:
            data = stream.read(strict_json.MAX_JSON_BYTES + 1)
    except OSError as error:
        raise ManifestError(f"{directory} is no module directory: it has no readable {MANIFEST_FILE}") from error
    return parse_manifest(data)


def manifest_bytes(manifest: Manifest) -> bytes:
    """The bytes of petapter.json: indented for readers, with a newline at the end.

    Raises:
        ManifestError: They are more than a reader accepts.
    """
    data = manifest.model_dump_json(indent=2).encode() + b"\n"
    if len(data) > strict_json.MAX_JSON_BYTES:
        raise ManifestError(
            f"{MANIFEST_FILE} would have {len(data)} bytes, more than the {strict_json.MAX_JSON_BYTES} allowed: "
            "use fewer labels or words"
        )
    return data


def manifest_digest(data: bytes) -> str:
    """The digest that names a module version: hex sha256 of the bytes of petapter.json."""
    return sha256_bytes(data)
