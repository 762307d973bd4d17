"""Cursors of pages by key: where a page ended, in a form that clients pass on as it is."""

import base64
import binascii
import json
import math
from typing import cast

from petapter_registry_server.errors import InvalidRequestError

Value = int | float | str


def write_cursor(order: str, value: Value, row: int) -> str:
    """Where the page after a row begins.

    Args:
        order: What the rows are ordered by.
        value: Of the row, in that order.
        row: Its id.
    """
    return base64.urlsafe_b64encode(json.dumps([order, value, row]).encode()).decode().rstrip("=")


def read_cursor(order: str, cursor: str, *kinds: type) -> tuple[Value, int]:
    """The value and the id in a cursor of an order, whose values are of these types.

    Raises:
        InvalidRequestError: It is no cursor, or one of another order.
    """
    try:
        said, value, row = json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True))
    except (ValueError, TypeError, RecursionError, binascii.Error):
        said = value = row = None
    fits = type(value) in kinds and type(row) is int and 0 <= row < 1 << 63
    if said != order or not fits or not (isinstance(value, str) or _is_small(value)) or "\0" in str(value):
        raise InvalidRequestError("cursor: use the value of 'next' as it is, with the same sort")
    return cast("Value", value), cast("int", row)


def _is_small(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value) and abs(value) < 1 << 62
