import hashlib
import io
import json
from typing import Any

import jsonschema
import pytest

from petapter_schemas.errors import DataError, DigestMismatchError, ManifestError, PetapterError
from petapter_schemas.evaluation_rows import MAX_ROW_BYTES, check_rows, read_rows, rows_bytes
from petapter_schemas.evaluation_set import EvaluationSetSpec, evaluation_set_bytes, parse_evaluation_set
from petapter_schemas.fingerprints import rows_sha256
from petapter_schemas.json_schema import evaluation_set_schema

ROWS = (
    {"text": "Nobody answers.", "label": "poor"},
    {"text": "Ärger \U0001f600", "label": "poor"},
    {"text": "Thank you!", "label": "very good"},
)
LINES = (
    b'{"label":"poor","text":"Nobody answers."}',
    '{"label":"poor","text":"Ärger \U0001f600"}'.encode(),
    b'{"label":"very good","text":"Thank you!"}',
)
GOLDEN_ROWS = "fddfbbf14c6ebfed822050d17be10d636cbf80cf6ebb1094bb2d4e4ad8525be7"
GOLDEN_SET = "6020f946d1621a406cf56a4e5845a73485c3785cedc8b1765a5491deade19f40"
"""Of the bytes as sha256sum has them; what was published under these names must keep them."""
MANY = (
    {"text": "neither", "label": ""},
    {"text": "both", "label": "a|b"},
    {"text": "one", "label": "b"},
)


def spec(**changes: Any) -> EvaluationSetSpec:
    return EvaluationSetSpec.model_validate(
        {
            "name": "tickets-2024",
            "version": "1.0.0",
            "labels": ("poor", "very good"),
            "counts": (2, 1),
            "split": "test",
            "n": 3,
            "rows_sha256": rows_sha256(ROWS),
            **changes,
        }
    )


def many(**changes: Any) -> EvaluationSetSpec:
    facts = {"type": "multi-label", "labels": ("a", "b"), "counts": (1, 2), "rows_sha256": rows_sha256(MANY)}
    return spec(**(facts | changes))


def check(data: bytes, of: EvaluationSetSpec) -> None:
    check_rows(io.BytesIO(data), of)


def test_the_file_is_each_row_on_a_line_in_ascending_order() -> None:
    assert rows_bytes(reversed(ROWS)) == b"".join(line + b"\n" for line in LINES)


def test_the_digest_is_that_of_manifests_and_of_the_lines_between_brackets() -> None:
    by_hand = hashlib.sha256(b"[" + b",".join(LINES) + b"]").hexdigest()
    assert by_hand == rows_sha256(ROWS) == GOLDEN_ROWS
    check(rows_bytes(ROWS), spec(rows_sha256=by_hand))


def test_the_digest_of_a_set_is_that_of_its_canonical_json() -> None:
    written = (
        '{"counts":[2,1],"description":"","fields":["text"],"labels":["poor","very good"],"languages":[],'
        f'"license":null,"n":3,"name":"tickets-2024","rows_sha256":"{GOLDEN_ROWS}","schema_version":1,"source":"",'
        '"split":"test","type":"single-label","version":"1.0.0"}'
    )
    assert spec().digest == hashlib.sha256(written.encode()).hexdigest() == GOLDEN_SET
    assert parse_evaluation_set(written.encode()) == spec()


def test_a_set_is_read_as_it_was_written() -> None:
    document = json.loads(evaluation_set_bytes(spec()))
    assert parse_evaluation_set(evaluation_set_bytes(spec())) == spec()
    jsonschema.validate(document, evaluation_set_schema())


def test_rows_of_a_set_with_several_labels_are_checked_and_read() -> None:
    check(rows_bytes(MANY), many())
    assert list(read_rows(io.BytesIO(rows_bytes(MANY)), many())) == list(MANY)


def test_a_row_that_occurs_twice_counts_twice() -> None:
    twice = (ROWS[0], *ROWS)
    check(rows_bytes(twice), spec(n=4, counts=(3, 1), rows_sha256=rows_sha256(twice)))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"schema_version": 2}, "format version 2"),
        ({"schema_version": None}, "no schema_version"),
        ({"colour": "red"}, "colour"),
        ({"name": "../x"}, "name"),
        ({"version": "1"}, "version"),
        ({"labels": ["a"]}, "labels"),
        ({"labels": ["very good", "poor"]}, "ascending order"),
        ({"labels": ["Poor", "poor"]}, "look like"),
        ({"labels": ["poor", "x\u202e"]}, "labels"),
        ({"counts": [3]}, "one number per label"),
        ({"counts": [1, 1]}, "add up to n, 3: they are 2"),
        ({"counts": [3, -1]}, "counts"),
        ({"n": 0, "counts": [0, 0]}, "n"),
        ({"n": 10**9, "counts": [1, 1]}, "n"),
        ({"n": True}, "n"),
        ({"fields": ["text", "label"]}, "ascending order"),
        ({"fields": ["label"]}, "may be called 'label'"),
        ({"fields": ["b", "a"]}, "ascending order"),
        ({"rows_sha256": "0"}, "rows_sha256"),
        ({"split": ""}, "split"),
        ({"split": "a\nb"}, "one line"),
        ({"source": "http://x\u200b"}, "invisible"),
        ({"license": "not a licence"}, "license"),
        ({"languages": ["English"]}, "languages"),
    ],
)
def test_a_broken_document_is_refused_in_one_line(change: dict[str, Any], reason: str) -> None:
    document = json.loads(evaluation_set_bytes(spec())) | change
    with pytest.raises(ManifestError, match=reason) as refused:
        parse_evaluation_set(json.dumps(document).encode())
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b'{"n": 1, "n": 2}', b"\xff", b"[" * 100_000])
def test_what_is_no_json_object_is_refused(data: bytes) -> None:
    with pytest.raises(ManifestError):
        parse_evaluation_set(data)


GOOD, OTHER = LINES[0], LINES[2]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "has 0 rows, and the evaluation set promises 3"),
        (GOOD, "line 1 has no end"),
        (GOOD + b"\n\n", "line 2"),
        (OTHER + b"\n" + GOOD + b"\n", "line 2 stands before its place"),
        (b'{"text":"x","label":"poor"}\n', "line 1 is not the row's canonical JSON"),
        (b'{"label": "poor","text":"x"}\n', "canonical JSON"),
        (b'{"label":"poor","text":"\\u0041"}\n', "canonical JSON"),
        (b'{"label":"poor","text":"x"}\r\n', "canonical JSON"),
        (b'\xef\xbb\xbf{"label":"poor","text":"x"}\n', "line 1"),
        (b'{"label":"poor","text":"x","id":"1"}\n', "an object of text, label and nothing else"),
        (b'{"label":"poor"}\n', "an object of text, label"),
        (b'["poor","x"]\n', "an object of text, label"),
        (b'{"label":"poor","text":""}\n', "text must be a text"),
        (b'{"label":"poor","text":" x"}\n', "without blanks at its ends"),
        (b'{"label":"poor","text":"a\\u0000b"}\n', "zero bytes"),
        (b'{"label":"poor","text":1}\n', "text must be a text"),
        (b'{"label":"poor","text":null}\n', "text must be a text"),
        (b'{"label":"meh","text":"x"}\n', "line 1 has the label 'meh', which is not in the set's labels"),
        (b'{"label":"","text":"x"}\n', "the label ''"),
        (b'{"label":"poor","text":"x","text":"y"}\n', "duplicate key"),
        (b'{"label":"poor","text":"\\ud800"}\n', "no strict JSON"),
        (b"\xff\xfe\n", "no strict JSON"),
        (b"\x80\x04pickle\n", "no strict JSON"),
        (b"[" * 5000 + b"\n", "nested too deeply|no strict JSON"),
        (b'{"label":"poor","text":"' + b"x" * MAX_ROW_BYTES + b'"}\n', "line 1 is longer than the"),
    ],
)
def test_broken_rows_are_refused_in_one_line(data: bytes, reason: str) -> None:
    with pytest.raises((DataError, DigestMismatchError), match=reason) as refused:
        check(data, spec())
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "row", [{"label": "b|a", "text": "x"}, {"label": "a|a", "text": "x"}, {"label": "a|", "text": "x"},
            {"label": "c", "text": "x"}, {"label": "a\\x", "text": "x"}]
)  # fmt: skip
def test_cell_of_labels_has_one_form(row: dict[str, str]) -> None:
    with pytest.raises(DataError, match="line 1"):
        check(rows_bytes([row]), many())


@pytest.mark.parametrize(
    ("promised", "reason"),
    [
        (spec(n=4, counts=(2, 2)), "has 3 rows, and the evaluation set promises 4"),
        (spec(rows_sha256="0" * 64), "holds other rows than the evaluation set promises"),
        (spec(counts=(1, 2)), "2 rows with the label 'poor', the evaluation set promises 1"),
    ],
)
def test_rows_that_are_not_the_promised_ones_are_refused(promised: EvaluationSetSpec, reason: str) -> None:
    with pytest.raises(DigestMismatchError, match=reason):
        check(rows_bytes(ROWS), promised)


def test_no_text_of_a_row_is_in_a_refusal() -> None:
    for data in (b'{"label":"poor","text":" secret "}\n', b'{"text":"secret","label":"poor"}\n', b'{"a":"secret"}\n'):
        with pytest.raises(PetapterError) as refused:
            check(data, spec())
        assert "secret" not in str(refused.value)
