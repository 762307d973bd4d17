"""What an adaptation was: the values of `adaptation.json` and the page that explains the directory to a reader."""

import json
from dataclasses import asdict, dataclass

from petapter.adaptation.learning import HeldOutLoss
from petapter.adaptation.options import AdaptationOptions
from petapter.adaptation.pieces import TextFacts
from petapter.adaptation.texts import TextFile
from petapter.backbone import Fingerprint

RECORD_FILE = "adaptation.json"
_FORMAT = 1


@dataclass(frozen=True)
class BaseRecord:
    """The backbone it began with.

    Attributes:
        repo: Where that came from.
        revision: Commit of `repo`, if known.
        fingerprint: What it was.
        had_mlm_head: Whether its masked-LM head came with its weights.
    """

    repo: str
    revision: str | None
    fingerprint: Fingerprint
    had_mlm_head: bool


@dataclass(frozen=True)
class AdaptationRecord:
    """Provenance of an adapted backbone.

    Attributes:
        base: What it began with.
        texts: What it read, by digest.
        facts: What the texts are made of.
        pieces: Pieces for training.
        options: Choices, none of them open.
        steps: Done.
        seconds: Of the steps.
        last_loss: Mean training loss of the last steps.
        held_out: Loss on documents that training did not see.
        hardware: What it ran on.
        libraries: Versions.
        fingerprint: What the result is.
    """

    base: BaseRecord
    texts: tuple[TextFile, ...]
    facts: TextFacts
    pieces: int
    options: AdaptationOptions
    steps: int
    seconds: float
    last_loss: float
    held_out: HeldOutLoss
    hardware: str
    libraries: dict[str, str]
    fingerprint: Fingerprint

    def values(self) -> dict[str, object]:
        """As JSON values."""
        facts = {**asdict(self.facts), "tokens_per_word": round(self.facts.tokens_per_word, 4)}
        return {"schema_version": _FORMAT, **asdict(self), "facts": facts}

    def json_bytes(self) -> bytes:
        """The content of `adaptation.json`."""
        return json.dumps(self.values(), indent=2, ensure_ascii=False).encode() + b"\n"


def render_page(record: AdaptationRecord) -> str:
    """The README.md of an adapted backbone."""
    base, held_out, facts = record.base, record.held_out, record.facts
    metadata = ["---", "library_name: transformers", "pipeline_tag: fill-mask"]
    metadata += [f"base_model: {base.repo}"] if _is_hub_id(base.repo) else []
    began = "with its own masked-LM head" if base.had_mlm_head else "which had no masked-LM head"
    what = "A LoRA adapter, merged into the encoder, and the head" if record.options.rank else "The head alone"
    files = "\n".join(f"| `{file.name}` | {file.size_bytes:,} | `{file.sha256}` |" for file in record.texts)
    commit = f" at `{base.revision}`" if base.revision else ""
    return "\n".join(
        [
            *metadata,
            "---",
            "",
            f"# {base.repo}, adapted",
            "",
            f"A masked language model made by `petapter adapt` from `{base.repo}`{commit}, {began}.",
            f"{what} trained by masked language modelling; word embeddings and tokenizer are those of the base.",
            "",
            f"Loss on held-out documents: {held_out.before:.3f} before, {held_out.after:.3f} after, in nats per token,",
            f"on {held_out.predictions:,} predictions. {record.steps:,} steps of {record.options.batch_size} pieces of",
            f"{record.options.piece_tokens} tokens, seed {record.options.seed}, {record.seconds:.0f} s.",
            "",
            f"Texts: {facts.documents:,} documents, {facts.words:,} words,",
            f"{facts.tokens_per_word:.2f} tokens per word.",
            "",
            "| file | bytes | sha256 |",
            "| --- | --- | --- |",
            files,
            "",
            f"Everything else is in `{RECORD_FILE}`. The licences of the base and of the texts apply.",
            "",
        ]
    )


def _is_hub_id(repo: str) -> bool:
    return repo.count("/") == 1
