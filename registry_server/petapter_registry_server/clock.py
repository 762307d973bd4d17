"""Time as the registry stores it (milliseconds since 1970, UTC) and as the Hub's protocol writes it."""

import time
from datetime import UTC, datetime


def now_ms() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def hub_date(at_ms: int) -> str:
    """`YYYY-MM-DDTHH:MM:SS.fffZ`, the only form that clients parse."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{at_ms % 1000:03d}Z"
