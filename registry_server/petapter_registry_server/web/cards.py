"""Model cards as markup that runs nothing: Markdown without HTML, then a sanitiser that lets known elements through.

A card is what anybody uploaded. Short ones are rendered here; long ones, whose time can be a second, in a process of
their own that is ended when it takes too long. What a card became is kept by the card's digest.
"""

import subprocess
import sys
import threading
from collections import OrderedDict

from markupsafe import Markup

from petapter_registry_server.services.showing import CardText
from petapter_registry_server.web.card_markup import card_markup

SHORT_BYTES = 8 << 10
MAX_SECONDS = 3.0
_AT_ONCE = 2
_MOST_KEPT_BYTES = 16 << 20
_MODULE = "petapter_registry_server.web.card_markup"


class Cards:
    """Rendered cards of one process; those that were asked for longest ago make room."""

    def __init__(self, max_seconds: float = MAX_SECONDS) -> None:
        self._max_seconds = max_seconds
        self._kept: OrderedDict[str, Markup | None] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()
        self._turns = threading.BoundedSemaphore(_AT_ONCE)

    def render(self, card: CardText) -> Markup | None:
        """The markup of a card; None when it takes too long to make."""
        with self._lock:
            if card.sha256 in self._kept:
                self._kept.move_to_end(card.sha256)
                return self._kept[card.sha256]
        text = without_metadata(card.text)
        made = card_markup(text) if len(text) <= SHORT_BYTES else self._render_apart(text)
        markup = None if made is None else Markup(made)  # noqa: S704 (card_markup sanitises)
        with self._lock:
            self._keep(card.sha256, markup)
        return markup

    def _render_apart(self, text: str) -> str | None:
        command = [sys.executable, "-P", "-m", _MODULE]
        try:
            with self._turns:
                done = subprocess.run(  # noqa: S603 (our own program)
                    command, input=text.encode(), capture_output=True, timeout=self._max_seconds, check=False
                )
        except subprocess.TimeoutExpired:
            return None
        return done.stdout.decode() if done.returncode == 0 else None

    def _keep(self, sha256: str, markup: Markup | None) -> None:
        if sha256 in self._kept:
            return
        self._kept[sha256] = markup
        self._bytes += _weight(markup)
        while self._bytes > _MOST_KEPT_BYTES:
            _, freed = self._kept.popitem(last=False)
            self._bytes -= _weight(freed)


def without_metadata(text: str) -> str:
    """A card without the YAML at its head, which is for programs."""
    lines = text.removeprefix("\ufeff").splitlines(keepends=True)
    if not lines or lines[0].rstrip() != "---":
        return text
    for number, line in enumerate(lines[1:], start=1):
        if line.rstrip() == "---":
            return "".join(lines[number + 1 :])
    return text


def _weight(markup: Markup | None) -> int:
    return 200 + len(markup or "")  # 200: what an entry has besides its text
