import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from petapter_schemas import strict_json
from petapter_schemas.errors import ManifestError

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)

_BAD = {
    "empty": b"",
    "no JSON": b"nonsense",
    "garbage after": b"{} x",
    "comment": b"{} // x",
    "trailing comma": b"[1,]",
    "single quotes": b"{'a':1}",
    "byte order mark": b"\xef\xbb\xbf{}",
    "UTF-16": '{"a":1}'.encode("utf-16"),
    "Latin-1": '{"a":"é"}'.encode("latin-1"),
    "raw control character": b'{"a":"\n"}',
    "duplicate key": b'{"a":1,"a":1}',
    "duplicate key inside": b'{"x":{"a":1,"a":2}}',
    "duplicate key in a list": b'{"x":[{"y":[{"a":1,"a":2}]}]}',
    "duplicate key, escaped": b'{"a":1,"\\u0061":2}',
    "NaN": b'{"a":NaN}',
    "infinity": b"[Infinity]",
    "minus infinity": b"[-Infinity]",
    "number beyond a double": b"[1e999]",
    "negative number beyond a double": b"[-1e999]",
    "negative zero": b"[-0]",
    "integer of 5,000 digits": b"[" + b"9" * 5000 + b"]",
    "lone surrogate": b'["\\ud800"]',
    "lone surrogate in a key": b'{"\\udc00":1}',
    "surrogates in the wrong order": b'["\\udc00\\ud800"]',
    "list bomb": b"[" * 100_000,
    "closed list bomb": b"[" * 100_000 + b"]" * 100_000,
    "object bomb": b'{"a":' * 40_000,
    "too deep by one": b"[" * 34 + b"]" * 34,
    "too long": b"[" + b" " * strict_json.MAX_JSON_BYTES + b"]",
}


@pytest.mark.parametrize("data", _BAD.values(), ids=_BAD)
def test_loose_json_is_refused(data: bytes) -> None:
    with pytest.raises(ManifestError, match=r"file\.json") as refusal:
        strict_json.loads(data, source="file.json")
    assert len(str(refusal.value)) < 400


def test_message_stays_short_whatever_the_key() -> None:
    key = b'"' + b"k" * 100_000 + b'"'
    with pytest.raises(ManifestError) as refusal:
        strict_json.loads(b"{" + key + b":1," + key + b":2}", source="file.json")
    assert len(str(refusal.value)) < 400


@given(value=_JSON)
def test_agrees_with_json_on_strict_json(value: object) -> None:
    for text in (json.dumps(value), json.dumps(value, ensure_ascii=False), json.dumps(value, indent=1)):
        assert strict_json.loads(text.encode(), source="x") == value


@given(data=st.binary(max_size=50))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        value = strict_json.loads(data, source="x")
    except ManifestError:
        return
    assert value == json.loads(data)


@given(value=st.dictionaries(st.text(max_size=5), _JSON, max_size=5))
def test_canonical_form_does_not_know_the_order_of_keys(value: dict[str, object]) -> None:
    turned = dict(reversed(value.items()))
    assert strict_json.canonical(value) == strict_json.canonical(turned)
    assert json.loads(strict_json.canonical(value)) == value


def test_canonical_form_is_the_documented_one() -> None:
    # schemas/README.md, "Digests"
    assert strict_json.canonical({"é": [1, 1.5, None, True], "a": "\n"}) == '{"a":"\\n","é":[1,1.5,null,true]}'.encode()
    assert (
        strict_json.canonical_sha256({}) == "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    )  # sha256sum


def test_canonical_form_has_no_nan() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        strict_json.canonical(math.nan)
