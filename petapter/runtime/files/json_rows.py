"""Rows of a JSON Lines file; why a line is no row is told without a word of what it says."""

import json
from collections.abc import Iterator
from dataclasses import replace

from petapter.runtime.files.input_row import InputRow
from petapter.runtime.files.lines import MAX_LINE_BYTES, Line, Lines
from petapter_schemas import strict_json
from petapter_schemas.errors import ManifestError


class JsonRows:
    """Reads one JSON object per line, as strictly as the task's rows are read."""

    def __init__(self, lines: Lines) -> None:
        """Read from these lines."""
        self._lines = lines

    @property
    def share(self) -> float:
        """How much of the file was read so far, from 0 to 1."""
        return self._lines.share

    def rows(self) -> Iterator[InputRow]:
        """Yield a row for every line that is not blank."""
        number = 0
        for line in self._lines:
            if line.data.strip():
                number += 1
                yield _row(number, line)


def _row(number: int, line: Line) -> InputRow:
    row = InputRow(number, line.number)
    if line.is_cut:
        return replace(row, reason=f"has more than {MAX_LINE_BYTES} bytes")
    try:
        value = strict_json.loads(line.data, source="the line", max_bytes=MAX_LINE_BYTES)
    except ManifestError as error:
        return replace(row, reason=_reason(error.__cause__))
    if not isinstance(value, dict):
        return replace(row, reason="is no JSON object")
    return replace(row, cells=value)


def _reason(cause: BaseException | None) -> str:
    match cause:
        case json.JSONDecodeError():
            return f"is no JSON (character {cause.pos + 1})"
        case UnicodeDecodeError():
            return f"is not UTF-8 (byte {cause.start + 1})"
        case _:
            return "is no strict JSON (a key twice, a number out of range, half a character, or nested too deeply)"
