"""A tuning on paper: every pattern, the vote, the finalists and the verdict as Markdown, and a plot of the patterns."""

from collections.abc import Sequence
from pathlib import Path

from petapter.tuning.outcome import DISTILLED, STRONG, TRANSFERRED, Finalist, PatternStanding, Tuned
from petapter.tuning.words import FoldWords

_ROW_INCHES, _WIDTH_INCHES = 0.32, 9.0
_LONGEST = 48
_PATTERNS_SAY = (
    "Frozen: a convex head on the bare backbone. Trained: members, on rows of folds that they did not see, in those "
    "folds where the pattern was among the best without them. Losses in nats."
)

_WORDS_SAY = (
    "Mined from the masked language model, for every fold without its rows, and taken where the loss of rows that were "
    "left out falls by more than one standard error (gain, in nats)."
)


def tuning_report(tuned: Tuned) -> str:
    """The report as Markdown."""
    low, high = tuned.interval.low, tuned.interval.high
    shipped = (
        f"Shipped: **{tuned.chosen.name}**. On texts like the rows it is expected to be right in "
        f"**{tuned.accuracy:.3f}** of cases ({low:.3f} to {high:.3f}, {100 * tuned.interval.level:.0f} %, "
        f"{tuned.interval.method}). This score has paid for the search."
    )
    vote = (
        f"| vote of {tuned.vote.members - tuned.vote.diverged} members and a convex head | all | "
        f"{tuned.vote.accuracy:.3f} ({tuned.vote.interval.low:.3f} to {tuned.vote.interval.high:.3f}) | "
        f"{tuned.vote.loss:.3f} | | |"
    )
    lines = [
        "# Tuning",
        "",
        shipped,
        "",
        verdict(tuned),
        "",
        "## Patterns",
        "",
        _PATTERNS_SAY,
        "",
        "| pattern | from | frozen loss | frozen accuracy | in folds | trained loss | trained accuracy | asked |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | --- |",
        *(_pattern_row(each) for each in tuned.patterns),
        "",
        "## Vote and finalists",
        "",
        "| what | rows left out | accuracy | loss | right less often than the vote by | agrees with the vote |",
        "| --- | ---: | ---: | ---: | --- | ---: |",
        vote,
        *(_finalist_row(each) for each in tuned.finalists),
        "",
        *([] if tuned.words is None else _words(tuned.words)),
        *(f"- {note}" for note in _notes(tuned)),
    ]
    return "\n".join(lines).rstrip() + "\n"


def verdict(tuned: Tuned) -> str:
    """Whether rows tell the shipped module from the other finalists, in one sentence."""
    if alike := tuned.choice.indistinguishable:
        others = " and ".join(alike)
        return f"These rows do not tell {tuned.chosen.name} from {others}: label more, or be content with either."
    others = " and ".join(each.name for each in tuned.finalists if each is not tuned.chosen)
    return f"{tuned.chosen.name} is better than {others} on rows that were left out."


def transfer(tuned: Tuned) -> str | None:
    """Whether the module to begin with stays, in one sentence; None where there was none."""
    by_name = {each.name: each for each in tuned.finalists}
    if TRANSFERRED not in by_name:
        return None
    fresh, begun = by_name[DISTILLED], by_name[TRANSFERRED]
    stays = "stays" if tuned.chosen.name == TRANSFERRED else "does not stay"
    return (
        f"The module to begin with {stays}: begun there the loss is {begun.loss:.3f} and {begun.accuracy:.3f} of rows "
        f"are right, begun afresh {fresh.loss:.3f} and {fresh.accuracy:.3f}."
    )


def draw_tuning(patterns: Sequence[PatternStanding], path: Path) -> None:
    """Draw the losses of all patterns, the best on top, as .svg or .png by the suffix of the path."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 (slow to import)
    from matplotlib.figure import Figure  # noqa: PLC0415 (likewise)

    figure = Figure(figsize=(_WIDTH_INCHES, 1.2 + _ROW_INCHES * len(patterns)), layout="constrained")
    FigureCanvasAgg(figure)
    panel = figure.subplots()
    places = list(range(len(patterns)))[::-1]
    panel.scatter([each.frozen_loss for each in patterns], places, marker="o", color="tab:gray", label="frozen")
    trained = [(each.loss, place) for each, place in zip(patterns, places, strict=True) if each.loss is not None]
    panel.scatter(
        [loss for loss, _ in trained], [place for _, place in trained], marker="D", color="tab:blue", label="trained"
    )
    names = [f"{'* ' if each.is_asked else ''}{_short(each.template)}" for each in patterns]
    panel.set_yticks(places, names, fontsize="small", parse_math=False)
    panel.set_xlabel("loss of rows that were left out, nats (less is better); * asked by the module")
    panel.grid(axis="x", alpha=0.3)
    panel.legend(fontsize="small")
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def _pattern_row(each: PatternStanding) -> str:
    trained = ["", ""] if each.loss is None or each.accuracy is None else [f"{each.loss:.3f}", f"{each.accuracy:.3f}"]
    cells = [
        f"`{_cell(each.template)}`", each.origin, f"{each.frozen_loss:.3f}", f"{each.frozen_accuracy:.3f}",
        str(each.folds), *trained, "yes" if each.is_asked else "",
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def _finalist_row(each: Finalist) -> str:
    behind = each.behind_vote
    apart = f"{behind.mean:+.3f} ({behind.interval.low:+.3f} to {behind.interval.high:+.3f})"
    fidelity = "" if each.fidelity is None else f"{each.fidelity:.3f}"
    return f"| {each.name} | {each.rows} | {each.accuracy:.3f} | {each.loss:.3f} | {apart} | {fidelity} |"


def _words(words: FoldWords) -> list[str]:
    """The words that were tried on all rows, taken or not, and in how many folds they were taken too."""
    tried = [
        f"| {_cell(each.label)} | {_cell(each.word)} | {each.gain:+.4f} | {each.error:.4f} | {each.judges} | "
        f"{'taken' if each.is_taken else 'rejected'} | {words.folds_of(each)} of {len(words.by_fold)} |"
        for each in words.of_all.tried
    ]
    table = ["| label | word | gain | standard error | rows that judged | all rows | taken in folds |",
             "| --- | --- | ---: | ---: | ---: | --- | ---: |", *tried, ""]  # fmt: skip
    return ["## Label words", "", _WORDS_SAY, "", *(table if tried else []), *(f"- {note}" for note in words.notes), ""]


def _notes(tuned: Tuned) -> list[str]:
    notes = [*filter(None, (transfer(tuned),)), *tuned.notes]
    if tuned.chosen.name == STRONG:
        notes.append(
            f"{tuned.optimism:.3f} was taken from the score of {STRONG}: so much better patterns look that are chosen "
            "with the rows they are measured on."
        )
    if tuned.vote.diverged:
        notes.append(f"{tuned.vote.diverged} of {tuned.vote.members} members diverged and did not vote.")
    return notes


def _cell(text: str) -> str:
    return text.replace("`", "'").replace("|", "\\|").replace("\n", " ")


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= _LONGEST else f"{flat[: _LONGEST - 1]}…"
