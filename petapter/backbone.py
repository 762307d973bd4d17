"""A frozen masked language model with its tokenizer and the fingerprint that modules are bound to."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self, cast

import torch
from transformers import AutoConfig, AutoModelForMaskedLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from petapter.task.encoding import Batch
from petapter.task.verbalizer import Verbalizer
from petapter_schemas.digests import Sha256
from petapter_schemas.errors import BackboneError, BackboneMismatchError
from petapter_schemas.fingerprints import backbone_digests
from petapter_schemas.manifest import BackboneSpec

Precision = Literal["float32", "bfloat16"]
"""Of the layers below the heads; the heads themselves always have single precision."""

_UNSET_LENGTH = 1_000_000
"""Tokenizers without a limit report a huge number; below this one it is meant."""


@dataclass(frozen=True)
class Fingerprint:
    """What a backbone is, by digest; the definitions stand in schemas/README.md."""

    architecture: str
    config_sha256: str
    weights_sha256: str
    tokenizer_sha256: str


@dataclass(frozen=True)
class Reading:
    """What a head may read of a batch.

    Attributes:
        at_masks: Last hidden states at the mask positions, [B, M, H].
        pools: By pooled layer, the mean of its hidden states over the text's own tokens, scaled to length 1,
            [B, P, H]; zero for a text without tokens; None where nothing is pooled.
    """

    at_masks: torch.Tensor
    pools: torch.Tensor | None = None


def read_hidden(batch: Batch, last: torch.Tensor, pooled: Sequence[torch.Tensor]) -> Reading:
    """Take from hidden states [B, S, H], the last and those of layers to pool, what a head may read."""
    positions = batch.mask_positions.to(last.device)  # [B, M]
    rows = torch.arange(len(positions), device=last.device).unsqueeze(1)  # [B, 1]
    if not pooled:
        return Reading(last[rows, positions])
    chosen = batch.text_mask.to(last.device, last.dtype).unsqueeze(-1)  # [B, S, 1]
    means = torch.stack([(hidden * chosen).sum(dim=1) for hidden in pooled], dim=1)  # [B, P, H]
    return Reading(last[rows, positions], torch.nn.functional.normalize(means, dim=-1))


@dataclass(frozen=True)
class Backbone:
    """A resident masked language model; its own weights never train.

    Attributes:
        model: The masked LM in evaluation mode. Adapters are injected into it and taken out again.
        tokenizer: Its fast tokenizer.
        fingerprint: Its identity.
        repo: Where it comes from: a Hub id, a directory's name, or "minilm".
        revision: Commit of `repo`, if known.
        max_tokens: Longest sequence it reads, special tokens included.
        has_mlm_head: Whether its masked-LM head came with its weights; without one, heads start at random.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    fingerprint: Fingerprint
    repo: str
    revision: str | None
    max_tokens: int
    has_mlm_head: bool

    @classmethod
    def load(
        cls,
        directory: Path,
        *,
        repo: str | None = None,
        revision: str | None = None,
        device: str | None = None,
        precision: Precision = "float32",
        digests: tuple[Sha256, Sha256, Sha256] | None = None,
    ) -> Self:
        """Load a model directory (config.json, *.safetensors, tokenizer.json); nothing is downloaded or executed.

        Args:
            directory: The local files.
            repo: Name to record; the directory's name by default.
            revision: Commit to record.
            device: A torch device; by default "cuda" where there is one, else "cpu".
            precision: bfloat16 is for answers alone: faster where the processor has it, and close to float32 only.
            digests: Of configuration, weights and tokenizer, as the caller has just taken them from these files; they
                are taken here if None.

        Raises:
            BackboneError: The directory holds no masked language model that can be used, or there is no such device.
        """
        place = _usable_device(device)
        _check_files(directory)
        tokenizer = _load_tokenizer(directory)
        model, has_mlm_head = _load_model(directory)
        if len(tokenizer) > int(model.config.vocab_size):
            raise BackboneError(
                f"{directory}: the tokenizer has {len(tokenizer)} tokens, the model {model.config.vocab_size}: "
                "they do not belong together"
            )
        fingerprint = Fingerprint(type(model).__name__, *(digests or backbone_digests(directory)))
        torch.nn.Module.to(model, place)
        torch.nn.Module.to(model.base_model, _PRECISIONS[precision])
        max_tokens = _max_tokens(model, tokenizer)
        return cls(model, tokenizer, fingerprint, repo or directory.name, revision, max_tokens, has_mlm_head)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.model.device

    @property
    def dtype(self) -> torch.dtype:
        """Of the layers below the heads."""
        return cast("torch.dtype", self.model.base_model.dtype)

    @property
    def precision(self) -> Precision:
        """The same by the name that `load` has for it."""
        return "bfloat16" if self.dtype == torch.bfloat16 else "float32"

    @property
    def hidden_size(self) -> int:
        """Width of the hidden states, H."""
        return int(self.model.config.hidden_size)

    @property
    def pad_id(self) -> int:
        """Token id that fills up a batch; its positions are masked out, so any id would do where there is none."""
        pad_id = self.tokenizer.pad_token_id
        return pad_id if isinstance(pad_id, int) else 0

    @property
    def layers(self) -> int:
        """Number of layers; hidden states are numbered 0 (embeddings) to this."""
        return int(self.model.config.num_hidden_layers)

    def read(self, batch: Batch, pool_layers: Sequence[int] = ()) -> Reading:
        """Run a batch through the backbone with whatever adapter is active.

        Args:
            batch: Texts of one pattern.
            pool_layers: Hidden states to pool over the tokens of the text fields.

        Raises:
            BackboneError: The architecture does not give one hidden state per layer, as ALBERT with inner groups.
        """
        last, lower = self.run({"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}, pool_layers)
        return read_hidden(batch, last.float(), [lower.get(layer, last).float() for layer in pool_layers])

    def check_trains(self) -> None:
        """Refuse a backbone that is there for answers alone.

        Raises:
            BackboneError: It was loaded in less than single precision.
        """
        if self.dtype != torch.float32:
            raise BackboneError(
                f"{self.repo!r} was loaded in {self.precision}, which is for answers: load it in float32 to train"
            )

    def run(
        self, inputs: Mapping[str, torch.Tensor], pool_layers: Iterable[int]
    ) -> tuple[torch.Tensor, dict[int, torch.Tensor]]:
        """The last hidden states [B, S, H] of inputs, wherever these are, and by number those of lower layers.

        Raises:
            BackboneError: As `read`.
        """
        lower = [layer for layer in pool_layers if layer != self.layers]
        given = {name: tensor.to(self.device) for name, tensor in inputs.items()}
        output = self.model.base_model(**given, output_hidden_states=bool(lower))
        if lower and len(output.hidden_states) != self.layers + 1:
            raise BackboneError(
                f"{self.repo!r} gives {len(output.hidden_states)} hidden states for {self.layers} layers, so that a "
                "layer cannot be told: pool the last one alone"
            )
        return output.last_hidden_state, {layer: output.hidden_states[layer] for layer in lower}

    def spec(self, verbalizer: Verbalizer) -> BackboneSpec:
        """What a manifest records of this backbone for a verbalizer."""
        config = self.model.config
        return BackboneSpec(
            repo=self.repo,
            revision=self.revision,
            architecture=self.fingerprint.architecture,
            config_sha256=self.fingerprint.config_sha256,
            weights_sha256=self.fingerprint.weights_sha256,
            tokenizer_sha256=self.fingerprint.tokenizer_sha256,
            mask_id=_mask_id(self.tokenizer),
            vocab_size=int(config.vocab_size),
            hidden_size=self.hidden_size,
            layers=int(config.num_hidden_layers),
            verbalizer_ids=verbalizer.ids,
        )

    def check_fits(self, spec: BackboneSpec, verbalizer: Verbalizer) -> None:
        """Refuse a module that was trained on anything else.

        Args:
            spec: What the module's manifest records.
            verbalizer: The module's words as this backbone's tokenizer reads them.

        Raises:
            BackboneMismatchError: Backbone, tokenizer or the tokens of a word differ.
        """
        here = self.spec(verbalizer)
        for field, what in _COMPARED.items():
            expected, found = getattr(spec, field), getattr(here, field)
            if expected != found:
                raise BackboneMismatchError(
                    f"the module was trained on {spec.repo!r} with another {what} than {self.repo!r} has "
                    f"({_short(expected)} against {_short(found)}): load it on {spec.repo!r}"
                )


_PRECISIONS: Mapping[Precision, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16}

_COMPARED = {
    "architecture": "architecture",
    "config_sha256": "configuration",
    "weights_sha256": "set of weights",
    "tokenizer_sha256": "tokenizer",
    "vocab_size": "number of tokens",
    "hidden_size": "hidden size",
    "layers": "number of layers",
    "mask_id": "mask token",
    "verbalizer_ids": "reading of the label words",
}


def _short(value: object) -> str:
    return value[:12] if isinstance(value, str) else str(value)[:40]


def _usable_device(name: str | None) -> torch.device:
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
    except (AssertionError, RuntimeError) as error:  # torch without CUDA raises the first
        cuda = torch.cuda.device_count()
        there = ", ".join(["cpu", *(f"cuda:{number}" for number in range(cuda))])
        raise BackboneError(f"there is no device {name!r} on this machine: take one of {there}") from error
    return device


def _check_files(directory: Path) -> None:
    if not (directory / "config.json").is_file():
        raise BackboneError(f"{directory} is no model directory: it has no config.json")
    if not any(directory.glob("*.safetensors")):
        raise BackboneError(f"{directory} has no *.safetensors weights: convert them; other formats can run code")
    if not (directory / "tokenizer.json").is_file():
        raise BackboneError(f"{directory} has no tokenizer.json: save its fast tokenizer there")


def _load_tokenizer(directory: Path) -> PreTrainedTokenizerBase:
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            directory, local_files_only=True, trust_remote_code=False, use_fast=True
        )
    except Exception as error:  # tokenizers' own are of no narrower class
        raise BackboneError(f"the tokenizer in {directory} cannot be loaded: {_line(error)}") from error
    if not tokenizer.is_fast:
        raise BackboneError(f"the tokenizer in {directory} is not a fast one: offsets are needed")
    if tokenizer.mask_token_id is None:
        raise BackboneError(f"the tokenizer in {directory} has no mask token: take a masked language model")
    tokenizer.backend_tokenizer.no_truncation()  # some carry sentence-encoder settings: truncate at 128 and pad
    tokenizer.backend_tokenizer.no_padding()
    return tokenizer


def _load_model(directory: Path) -> tuple[PreTrainedModel, bool]:
    try:
        with _quiet():
            config = AutoConfig.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
            model, report = AutoModelForMaskedLM.from_pretrained(
                directory,
                config=config,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                dtype=torch.float32,
                output_loading_info=True,
            )
    except Exception as error:  # of any kind: transformers takes config.json at its word, whatever a field holds
        raise BackboneError(f"{directory} holds no masked language model: {_line(error)}") from error
    model.requires_grad_(False)  # noqa: FBT003 (torch's signature)
    model.eval()
    missing = set(report["missing_keys"])
    if lost := sorted(key for key in missing if key.startswith(f"{model.base_model_prefix}.")):
        raise BackboneError(f"{directory} lacks weights of its encoder, for example {lost[0]}: get it again")
    return model, not missing


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence transformers' progress bar and load report; what matters of the report is checked by the caller."""
    verbosity = transformers_logging.get_verbosity()
    bar = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bar:
            transformers_logging.enable_progress_bar()


def _max_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int:
    positions = int(getattr(model.config, "max_position_embeddings", 0)) or _UNSET_LENGTH
    offset = getattr(getattr(model.base_model, "embeddings", None), "padding_idx", None)
    if offset is not None and model.config.model_type in {"roberta", "xlm-roberta", "camembert"}:
        positions -= int(offset) + 1  # these models number positions from padding_idx + 1
    stated = int(tokenizer.model_max_length)
    return min(positions, stated) if stated < _UNSET_LENGTH else positions


def _mask_id(tokenizer: PreTrainedTokenizerBase) -> int:
    mask_id = tokenizer.mask_token_id
    if not isinstance(mask_id, int):
        raise BackboneError("the tokenizer has no single mask token")
    return mask_id


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
