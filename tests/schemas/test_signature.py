import base64
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from petapter_schemas.errors import SignatureError
from petapter_schemas.signature import (
    MAX_SIGNATURE_BYTES,
    Envelope,
    SignaturePredicate,
    Statement,
    parse_envelope,
    parse_statement,
    pre_authentication,
    read_instant,
    signature_path,
    write_instant,
)

DIGEST, FINGERPRINT = "ab" * 32, "cd" * 32
PREDICATE = SignaturePredicate(
    module="reviews", version="1.2.0", repository="team/reviews", signed="2026-11-27T12:00:00Z"
)
STATEMENT = Statement.about(DIGEST, PREDICATE)


def test_what_is_signed_is_that_of_the_protocols_own_example() -> None:
    """The example of https://github.com/secure-systems-lab/dsse, protocol.md."""
    assert pre_authentication("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


def test_lengths_are_counted_in_bytes() -> None:
    assert pre_authentication("ä", "ö".encode()) == "DSSEv1 2 ä 2 ö".encode()


def test_statement_is_what_in_toto_reads() -> None:
    assert json.loads(STATEMENT.to_bytes()) == {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "petapter.json", "digest": {"sha256": DIGEST}}],
        "predicateType": "urn:petapter:module-signature:1",
        "predicate": {
            "module": "reviews",
            "version": "1.2.0",
            "repository": "team/reviews",
            "signed": "2026-11-27T12:00:00Z",
            "expires": None,
        },
    }


def test_envelope_reads_back() -> None:
    envelope = Envelope.of(STATEMENT.to_bytes(), ((FINGERPRINT, b"s" * 64),))
    read = parse_envelope(envelope.to_bytes(), source="x.json")
    assert read == envelope
    assert parse_statement(read, source="x.json") == STATEMENT
    assert (read.signatures[0].keyid, read.signatures[0].raw) == (FINGERPRINT, b"s" * 64)
    assert read.signed_bytes.startswith(b"DSSEv1 28 application/vnd.in-toto+json ")


def document(**changes: object) -> dict[str, Any]:
    written: dict[str, Any] = json.loads(Envelope.of(STATEMENT.to_bytes(), ((FINGERPRINT, b"s" * 64),)).to_bytes())
    return {**written, **changes}


def test_unknown_fields_are_passed_over_and_url_safe_base64_is_read() -> None:
    payload = base64.urlsafe_b64encode(STATEMENT.to_bytes()).decode()
    read = parse_envelope(json.dumps(document(payload=payload, more=1)).encode(), source="x.json")
    assert read.raw_payload == STATEMENT.to_bytes()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"{", "is no strict JSON"),
        (b"[]", "is no signature of a module"),
        (json.dumps(document(signatures=[])).encode(), "signatures"),
        (b'{"payload": "", "payload": ""}', "duplicate key"),
        (b" " * (MAX_SIGNATURE_BYTES + 1), "more than"),
    ],
)
def test_what_is_no_envelope_is_refused(data: bytes, expected: str) -> None:
    with pytest.raises(SignatureError, match=expected):
        parse_envelope(data, source="x.json")


def test_payload_that_is_no_base64_is_refused() -> None:
    read = parse_envelope(json.dumps(document(payload="%%%")).encode(), source="x.json")
    with pytest.raises(SignatureError, match="no base64"):
        _ = read.signed_bytes


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("_type", "https://in-toto.io/Statement/v0.1"),
        ("predicateType", "https://slsa.dev/provenance/v1"),
        ("subject", []),
        ("subject", [{"name": "petapter.json", "digest": {"sha1": "00"}}]),
        ("predicate", {"module": "x", "version": "1.0.0", "signed": "2026-13-01T00:00:00Z"}),
    ],
)
def test_other_statements_are_refused(path: str, value: object) -> None:
    payload = json.dumps({**json.loads(STATEMENT.to_bytes()), path: value}).encode()
    with pytest.raises(SignatureError, match="no signature of a module"):
        parse_statement(Envelope.of(payload, (("", b""),)), source="x.json")


def test_other_kinds_of_payload_are_refused() -> None:
    read = parse_envelope(json.dumps(document(payloadType="text/plain")).encode(), source="x.json")
    with pytest.raises(SignatureError, match="text/plain"):
        parse_statement(read, source="x.json")


def test_end_is_the_first_moment_that_no_longer_counts() -> None:
    ending = PREDICATE.model_copy(update={"expires": "2026-11-28T00:00:00Z"})
    assert not PREDICATE.is_over(datetime(2999, 1, 1, tzinfo=UTC))
    assert not ending.is_over(datetime(2026, 11, 27, 23, 59, 59, tzinfo=UTC))
    assert ending.is_over(datetime(2026, 11, 28, tzinfo=UTC))


def test_instants_read_back_and_paths_are_those_of_the_branch() -> None:
    now = datetime(2026, 11, 27, 12, 0, 5, tzinfo=UTC)
    assert read_instant(write_instant(now)) == now
    assert signature_path(DIGEST, FINGERPRINT) == f"signatures/{DIGEST}/{FINGERPRINT}.json"
