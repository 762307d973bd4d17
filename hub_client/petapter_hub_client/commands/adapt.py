# ruff: noqa: PLC0415 (each command imports what it needs, so that --help stays fast)
"""`petapter adapt`: unlabelled texts make a backbone of its own from a masked LM or a bare encoder."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from petapter_hub_client.commands.options import JsonOption, prepare_torch
from petapter_hub_client.output import OnStep, hush_huggingface, progress, say_facts, say_json

if TYPE_CHECKING:
    from petapter.adaptation import AdaptationOptions, AdaptationRecord

_PARTS = 1000


def adapt(  # noqa: PLR0913 (a command's options)
    *,
    texts: Annotated[
        list[Path],
        typer.Option(
            "--texts", metavar="FILE", help="UTF-8, one document per line (.gz, .xz too), .csv or .jsonl; repeatable."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The backbone directory to make.")],
    backbone: Annotated[str, typer.Option(help="A Hub id, a local directory, or 'minilm'.")] = "minilm",
    column: Annotated[str, typer.Option(help="Of tables: where the text is.")] = "text",
    steps: Annotated[int | None, typer.Option(min=1, help="Optimiser steps. Default: 1000, or --minutes.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Stop after this time; not exactly repeatable.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of initial weights, masks and order.")] = 0,
    rank: Annotated[int, typer.Option(min=1, help="Rank of the LoRA adapter that is merged afterwards.")] = 24,
    head_only: Annotated[bool, typer.Option("--head-only", help="Leave the encoder as it is, train the head.")] = False,
    lr: Annotated[float | None, typer.Option(help="Peak learning rate. Default: 0.576 / hidden size.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Pieces of text per step.")] = 32,
    piece_tokens: Annotated[int | None, typer.Option(min=1, help="Tokens of a piece. Default: 96.")] = None,
    precision: Annotated[
        Literal["float32", "bfloat16"], typer.Option(help="Of matrix products; bfloat16 is faster where there is it.")
    ] = "float32",
    as_json: JsonOption = False,
) -> None:
    """Adapt a backbone to a domain by masked language modelling on unlabelled texts."""
    prepare_torch("adapt")
    from petapter.adaptation import AdaptationOptions

    hush_huggingface()
    options = AdaptationOptions(
        seed=seed,
        steps=steps,
        minutes=minutes,
        rank=0 if head_only else rank,
        alpha=2.0 * rank,
        piece_tokens=piece_tokens,
        batch_size=batch_size,
        lr=lr,
        precision=precision,
    )
    with progress("adapting") as on_step:
        record = _adapt(backbone, (tuple(texts), column), out, options, on_step)
    _report(record, out, as_json=as_json)


def _adapt(
    backbone: str, texts: tuple[tuple[Path, ...], str], out: Path, options: "AdaptationOptions", on_step: OnStep
) -> "AdaptationRecord":
    from petapter.adaptation import Base, Texts, adapt
    from petapter.process import settle
    from petapter_hub_client.backbones import resolve_backbone
    from petapter_hub_client.fetching import check_new_directory

    check_new_directory(out)
    settle()
    on_step(0, _PARTS, "(reading the texts)")
    found = resolve_backbone(backbone)
    base = Base(found.directory, found.repo, found.revision)

    def told(share: float, loss: float) -> None:
        on_step(round(share * _PARTS), _PARTS, f"loss {loss:.3f}")

    return adapt(base, Texts(*texts), out, options, on_progress=told)


def _report(record: "AdaptationRecord", out: Path, *, as_json: bool) -> None:
    if as_json:
        say_json({"directory": str(out), "adaptation": record.values()})
        return
    facts, held_out = record.facts, record.held_out
    unknown = f", {facts.unknown / facts.tokens:.2%} unknown" if facts.unknown else ""
    loss = f"{held_out.before:.3f} before, {held_out.after:.3f} after, on {held_out.predictions:,} predictions"
    say_facts(
        (
            ("directory", out),
            ("base", f"{record.base.repo}{'' if record.base.had_mlm_head else ', which had no masked-LM head'}"),
            ("texts", f"{facts.documents:,} documents, {facts.words:,} words"),
            ("tokens", f"{facts.tokens_per_word:.2f} per word{unknown}"),
            ("steps", f"{record.steps} in {record.seconds:.0f} s"),
            ("held-out loss", loss),
            ("fingerprint", f"{record.fingerprint.weights_sha256[:16]}…"),
        )
    )
