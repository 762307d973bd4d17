"""The terms that a module is found by: `label:very good`, `language:de`, `word:tickets`; their one spelling."""

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Iterator

from petapter_schemas.card_metadata import published_backbone
from petapter_schemas.module_facts import BackboneFacts, ModuleFacts
from petapter_schemas.names import label_key

MAX_WORDS = 200
"""Words of one module beyond these are not found; 4,000 characters of description hold some 600."""

METRIC_FACET = "metric"
STATUS_FACET = "status"
FACETS = ("adapter", "backbone", "kind", "label", "language", METRIC_FACET, STATUS_FACET, "task")
"""What modules are counted by."""

_WORD = re.compile(r"[^\W_]+")
_MAX_WORD_CHARACTERS = 40


def words_of(text: str) -> list[str]:
    """The words of a text as they are compared: NFKC, case-folded, letters and digits alone, each once."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return list(dict.fromkeys(word[:_MAX_WORD_CHARACTERS] for word in _WORD.findall(folded)))


def label_term(name: str) -> str:
    """A module has this label."""
    return f"label:{label_key(name)}"


def label_set_term(names: Iterable[str]) -> str:
    """A module has exactly these labels, in any order."""
    keys = "\n".join(sorted({label_key(name) for name in names}))
    return f"labels:{hashlib.sha256(keys.encode()).hexdigest()[:32]}"


def label_count_term(count: int) -> str:
    """A module has this many labels."""
    return f"label-count:{count}"


def property_term(name: str, value: str) -> str:
    """A module has a property such as `task:single-label`, compared without regard to case."""
    return f"{name}:{value.casefold()}"


def terms_of(full_name: str, facts: ModuleFacts) -> set[str]:
    """All terms of a module."""
    return {*_terms(full_name, facts)}


def _terms(full_name: str, facts: ModuleFacts) -> Iterator[str]:
    yield property_term("namespace", full_name.partition("/")[0])
    yield property_term("kind", facts.kind)
    yield property_term("adapter", facts.adapter_kind)
    if facts.task_type is not None:
        yield property_term("task", facts.task_type)
    for language in facts.languages:
        yield property_term("language", language)
        yield property_term("language", language.partition("-")[0])
    if facts.labels:
        yield from map(label_term, facts.labels)
        yield label_set_term(facts.labels)
        yield label_count_term(len(facts.labels))
    if facts.backbone is not None:
        yield from _backbone_terms(facts.backbone)
    yield from (f"parent:{digest}" for digest in (facts.parent, *facts.merged_from) if digest)
    yield from (f"word:{word}" for word in words_of(_text(full_name, facts))[:MAX_WORDS])


def _backbone_terms(backbone: BackboneFacts) -> Iterator[str]:
    yield property_term("backbone", published_backbone(backbone.repo))
    for kind in ("config", "weights", "tokenizer"):
        if digest := getattr(backbone, f"{kind}_sha256"):
            yield f"{kind}:{digest}"


def _text(full_name: str, facts: ModuleFacts) -> str:
    return "\n".join([full_name, *facts.labels, facts.backbone.repo if facts.backbone else "", facts.description])
