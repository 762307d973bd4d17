"""Golden outputs: synthetic probe texts whose log-probabilities a module must reproduce wherever it is opened."""

from collections.abc import Sequence

import torch

from petapter.scoring import Scores
from petapter_schemas.errors import GoldenMismatchError
from petapter_schemas.golden import Golden, Probe

_SENTENCES = (
    "The meeting has been moved to Thursday afternoon.",
    "I would not buy this again, it broke after two days!",
    "Could you tell me how to reset my password?",
    "Shares fell sharply after the company cut its forecast for the year.",
    "play some quiet piano music in the kitchen",
    "The home side won 3:1 after extra time, to the surprise of nearly everyone in the stadium.",
    "A new method lets doctors find the illness earlier, researchers reported; larger trials are to follow next year.",
    "ok",
)
"""Written for this file; short and long, several topics, no user's words."""


def probe_texts(fields: Sequence[str]) -> list[dict[str, str]]:
    """The probe texts for a task's fields; each field of one probe holds another sentence."""
    count = len(_SENTENCES)
    return [{name: _SENTENCES[(i + shift) % count] for shift, name in enumerate(fields)} for i in range(count)]


def record_golden(texts: Sequence[dict[str, str]], scores: Scores) -> Golden:
    """Keep what a module says of the probe texts."""
    rows = scores.log_probabilities.tolist()
    return Golden(
        probes=tuple(
            Probe(fields=fields, log_probabilities=tuple(min(0.0, value) for value in row))
            for fields, row in zip(texts, rows, strict=True)
        )
    )


def check_golden(golden: Golden, scores: Scores, first: int = 0) -> None:
    """Compare what a module says now with what it said when it was trained.

    Args:
        golden: What it said.
        scores: What it says of probes that follow one another.
        first: Number of the first of them.

    Raises:
        GoldenMismatchError: A log-probability differs by more than the tolerance.
    """
    probes = golden.probes[first : first + len(scores.log_probabilities)]
    expected = torch.tensor([probe.log_probabilities for probe in probes])
    worst = float((expected - scores.log_probabilities).abs().max())
    if not worst <= golden.tolerance:
        raise GoldenMismatchError(
            f"the module does not reproduce its recorded outputs here: a log-probability differs by {worst:.2g}, "
            f"more than {golden.tolerance:g}; compare the versions of torch and transformers with its manifest"
        )
