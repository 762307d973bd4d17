"""Markdown to markup that runs nothing, as a function and, with text on its standard input, as a program."""

import re
import resource
import sys

import nh3
from markdown_it import MarkdownIt

_ELEMENTS = {
    "a", "blockquote", "br", "code", "del", "em", "h3", "h4", "h5", "h6", "hr", "li", "ol", "p", "pre", "s", "strong",
    "table", "tbody", "td", "th", "thead", "tr", "ul",
}  # fmt: skip
_ATTRIBUTES = {"a": {"href", "title"}, "ol": {"start"}, "th": {"align"}, "td": {"align"}}
_REL = "nofollow noopener noreferrer ugc"
_HEADING = re.compile(r"(</?h)([1-6])(?=[ >])")
_LOWER_BY = 2
_LOWEST = 6
_MAX_BYTES = 1 << 30
_MAX_CPU_S = 10


def card_markup(text: str) -> str:
    """The markup of a card's text. Its headings begin two levels lower: those above are the page's.

    Pictures are left out, as a page that fetched them would tell other hosts who reads it.
    """
    markdown = MarkdownIt("commonmark", {"html": False, "maxNesting": 20}).enable(["table", "strikethrough"])
    made = _HEADING.sub(_lower, markdown.render(text))
    return (
        nh3.clean(
            made,
            tags=_ELEMENTS,
            attributes=_ATTRIBUTES,
            url_schemes={"http", "https", "mailto"},
            link_rel=_REL,
            strip_comments=True,
        )
        .replace("<table>", '<div class="wide" tabindex="0" role="region" aria-label="table"><table>')
        .replace("</table>", "</table></div>")
        .replace("<pre>", '<pre tabindex="0">')
    )


def _lower(match: re.Match[str]) -> str:
    return f"{match[1]}{min(int(match[2]) + _LOWER_BY, _LOWEST)}"


def main() -> None:
    """Render standard input, with a bounded share of the machine."""
    resource.setrlimit(resource.RLIMIT_AS, (_MAX_BYTES, _MAX_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (_MAX_CPU_S, _MAX_CPU_S))
    text = sys.stdin.buffer.read().decode("utf-8", "replace")
    sys.stdout.buffer.write(card_markup(text).encode("utf-8", "replace"))


if __name__ == "__main__":
    main()
