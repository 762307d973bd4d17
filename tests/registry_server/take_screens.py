"""Takes pictures of every page, light and dark, on a desk and on a phone, into tests/assets/screens/.

    python tests/registry_server/take_screens.py [NAME ...]

They are for looking at, and for the README; no test compares them. Colours are reduced to 64, which text does not show.
"""

import io
import sys
import tempfile
from collections.abc import Callable, Mapping
from itertools import product
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
import structlog
from PIL import Image
from playwright.sync_api import Browser

from petapter_registry_server.settings import Settings
from tests.registry_server.conftest import Caller, Registry, open_registry
from tests.registry_server.headless import headless_chromium
from tests.registry_server.page_modules import fill, fill_board, tell
from tests.registry_server.test_boards_in_a_browser import BOARD_PAGES
from tests.registry_server.test_pages_in_a_browser import PAGES, Site, at, reachable

SCREENS = Path(__file__).parents[1] / "assets" / "screens"
SCHEMES = ("light", "dark")
WIDTHS = (390, 1280)
COLOURS = 64
MOST_HEIGHT = 3200
ALIKE = frozenset({"module-old", "module-child"})
"""Kinds that look like another one; they are taken when they are named."""


def main() -> None:
    """Take them."""
    wanted = sys.argv[1:] or [name for name in (*PAGES, *BOARD_PAGES) if name not in ALIKE]
    SCREENS.mkdir(parents=True, exist_ok=True)
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    with headless_chromium() as chromium:
        for pages, filled in ((PAGES, filled_with_modules), (BOARD_PAGES, filled_with_a_board)):
            if names := [name for name in wanted if name in pages]:
                take(chromium, filled, {name: pages[name] for name in names})


def filled_with_modules(registry: Registry) -> Caller:
    """What most pages show."""
    ada = fill(registry)
    tell(registry, ada)
    ada.call("PUT", "/api/models/team/spam/settings", json={"gated": "manual"})
    registry.caller("grace").call("POST", "/api/models/team/spam/ask-access")
    return ada


def filled_with_a_board(registry: Registry) -> Caller:
    """What the pages of evaluation sets show."""
    fill_board(registry, "team")
    return registry.caller("ada")


def take(chromium: Browser, filled: Callable[[Registry], Caller], pages: Mapping[str, str]) -> None:
    """Pictures of some pages of a registry that is filled for them."""
    with tempfile.TemporaryDirectory() as folder:
        registry = open_registry(Settings(data=Path(folder) / "data", webhook_interval_s=0))
        with registry.client:
            ada = filled(registry)
            with reachable(registry) as url:
                site = Site(registry, url, ada)
                for scheme, width in product(SCHEMES, WIDTHS):
                    options = {"color_scheme": scheme, "viewport": {"width": width, "height": 800}}
                    with at(site, chromium, registry.admin_token, **options) as page:
                        for name, path in pages.items():
                            page.goto(path)
                            save(page.screenshot(full_page=True), SCREENS / f"{name}-{scheme}-{width}.png")


def save(png: bytes, file: Path) -> None:
    """A picture with few colours, which is small."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    picture = picture.crop((0, 0, picture.width, min(picture.height, MOST_HEIGHT)))
    picture.quantize(COLOURS, dither=Image.Dither.NONE).save(file, optimize=True)


if __name__ == "__main__":
    main()
