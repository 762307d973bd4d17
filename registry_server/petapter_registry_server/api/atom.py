"""Feeds as Atom writes them (RFC 4287)."""

from urllib.parse import quote
from xml.etree.ElementTree import Element, SubElement, tostring

from petapter_registry_server.clock import hub_date
from petapter_registry_server.services.feeds import Feed, FeedEntry

MEDIA_TYPE = "application/atom+xml"
_NAMESPACE = "http://www.w3.org/2005/Atom"


def atom(feed: Feed, *, here: str, registry: str) -> bytes:
    """A feed as a document.

    Args:
        feed: What it tells.
        here: The address that it was asked for at.
        registry: The registry's address, where pages are.
    """
    root = Element("feed", {"xmlns": _NAMESPACE, "xml:lang": "en"})
    _add(root, "id", feed.id)
    _add(root, "title", f"{feed.name}: versions")
    _add(root, "updated", hub_date(feed.updated_ms))
    SubElement(root, "link", {"rel": "self", "type": MEDIA_TYPE, "href": here})
    SubElement(root, "link", {"rel": "alternate", "type": "text/html", "href": f"{registry}/{quote(feed.name)}"})
    _add(root, "generator", "petapter-registry")
    _person(root, feed.name)
    for entry in feed.entries:
        _entry(root, entry, registry)
    written: bytes = tostring(root, encoding="utf-8", xml_declaration=False)
    return b'<?xml version="1.0" encoding="utf-8"?>\n' + written


def _entry(root: Element, entry: FeedEntry, registry: str) -> None:
    element = SubElement(root, "entry")
    deed = "was yanked" if entry.is_yank else "was published"
    page = f"{registry}/{quote(entry.module)}?revision={quote(f'v{entry.version}', safe='')}"
    _add(element, "id", entry.id)
    _add(element, "title", f"{entry.module} {entry.version} {deed}")
    _add(element, "updated", hub_date(entry.at_ms))
    if not entry.is_yank:
        _add(element, "published", hub_date(entry.at_ms))
    _person(element, entry.by)
    SubElement(element, "link", {"rel": "alternate", "type": "text/html", "href": page})
    SubElement(element, "category", {"term": "yank" if entry.is_yank else "publish"})
    _add(element, "summary", entry.reason or f"Version {entry.version} of {entry.module} {deed} by {entry.by}.")


def _person(parent: Element, name: str) -> None:
    _add(SubElement(parent, "author"), "name", name)


def _add(parent: Element, tag: str, text: str) -> None:
    """An element with a text, without the characters that XML cannot hold."""
    SubElement(parent, tag).text = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
