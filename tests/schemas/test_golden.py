import json
from typing import Any

import pytest

from petapter_schemas.errors import ManifestError
from petapter_schemas.golden import parse_golden


def _golden(**changes: object) -> bytes:
    probe = {"fields": {"text": "x"}, "log_probabilities": [-0.7, -0.7]}
    return json.dumps({"tolerance": 0.001, "probes": [probe] * 8, **changes}).encode()


def _probe(**changes: object) -> dict[str, Any]:
    return {"fields": {"text": "x"}, "log_probabilities": [-0.7, -0.7], **changes}


def test_probes_are_read() -> None:
    assert len(parse_golden(_golden()).probes) == 8


@pytest.mark.parametrize(
    "changes",
    [
        {"tolerance": 0},
        {"tolerance": 2},
        {"tolerance": "0.1"},
        {"probes": [_probe()] * 7},
        {"probes": [_probe()] * 33},
        {"probes": [_probe()] * 8 + [_probe(log_probabilities=[-0.7])]},
        {"probes": [_probe(log_probabilities=[0.1, -3])] * 8},
        {"probes": [_probe(fields={"text": 1})] * 8},
        {"probes": [_probe(extra=1)] * 8},
        {"extra": 1},
    ],
    ids=str,
)
def test_other_golden_files_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ManifestError, match=r"golden\.json"):
        parse_golden(_golden(**changes))
