"""The YAML head of a model card: what the Hugging Face Hub indexes, and the tags by which petapter searches there.

Written without a YAML library, one key a line with a value in flow style, so that it needs the standard library alone.
"""

import json
import re
from collections.abc import Iterable, Iterator

from petapter_schemas.manifest import EvaluationSet, EvaluationSpec, Manifest
from petapter_schemas.minilm import MINILM, MINILM_HUB_ID
from petapter_schemas.names import label_key

MODULE_TAG = "petapter"
"""Tag that every card of a module carries."""

LABEL_PREFIX = "label:"
"""How tags that name a label begin."""

MAX_TAG_BYTES = 64 * 1024
"""Label tags beyond this are left out, so that a card stays small; petapter.json has all labels."""

_PUBLISHED_NAMES = {MINILM: MINILM_HUB_ID}
"""Built-in backbones under the names the Hub knows."""

_HUB_REPO = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}(/[A-Za-z0-9][A-Za-z0-9._-]{0,95})?")

_HUB_LICENSES = frozenset(
    """
    afl-3.0 agpl-3.0 apache-2.0 artistic-2.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear bsl-1.0 c-uda cc cc0-1.0
    cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0
    cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cc-by-nd-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cdla-permissive-1.0
    cdla-permissive-2.0 cdla-sharing-1.0 ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 eupl-1.2 gfdl gpl gpl-2.0 gpl-3.0
    isc lgpl lgpl-2.1 lgpl-3.0 lgpl-lr lppl-1.3c mit mpl-2.0 ms-pl ncsa odbl odc-by ofl-1.1 openrail osl-3.0 pddl
    postgresql unknown unlicense wtfpl zlib
    """.split()  # noqa: SIM905 (sixty quoted names read worse)
)
"""https://huggingface.co/docs/hub/repositories-licenses; the Hub refuses a card with another one."""

# What YAML 1.1 and 1.2 readers refuse, fold or overlook when it stands unescaped in a quoted scalar.
_UNSAFE_IN_YAML = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]")


def front_matter(manifest: Manifest) -> str:
    """The block between and including the two `---` lines."""
    lines = [f"{key}: {_yaml(value)}" for key, value in _entries(manifest)]
    return "\n".join(["---", *lines, "---", ""])


def published_backbone(repo: str) -> str:
    """The name under which the Hub knows a backbone."""
    return _PUBLISHED_NAMES.get(repo, repo)


def label_tag(name: str) -> str:
    """The tag by which modules with a label are found on the Hub."""
    return f"{LABEL_PREFIX}{label_key(name)}"


def backbone_tag(weights_sha256: str) -> str:
    """The tag by which modules for the same backbone weights are found on the Hub."""
    return f"backbone:{weights_sha256[:16]}"


def within(items: Iterable[str], max_bytes: int) -> list[str]:
    """The first items that take at most `max_bytes` in UTF-8 together."""
    kept: list[str] = []
    for item in items:
        max_bytes -= len(item.encode())
        if max_bytes < 0:
            break
        kept.append(item)
    return kept


def _entries(manifest: Manifest) -> Iterator[tuple[str, object]]:
    yield "library_name", "petapter" if manifest.adapter.kind == "none" else "peft"
    yield "pipeline_tag", "text-classification"
    backbone = published_backbone(manifest.backbone.repo)
    if _HUB_REPO.fullmatch(backbone):  # the Hub refuses a card whose base model is a path
        yield "base_model", backbone
        yield "base_model_relation", "adapter"
    if manifest.license is not None:
        yield from _license(manifest.license)
    if manifest.languages:
        yield "language", list(dict.fromkeys(language.split("-")[0] for language in manifest.languages))
    yield "tags", _tags(manifest)
    if manifest.evaluation:
        yield "model-index", [{"name": manifest.name, "results": _results(manifest.evaluation)}]


def _license(spdx: str) -> Iterator[tuple[str, object]]:
    known = spdx.lower()
    if known in _HUB_LICENSES:
        yield "license", known
    else:
        yield "license", "other"
        yield "license_name", known


def _tags(manifest: Manifest) -> list[str]:
    labels = within((label_tag(name) for name in manifest.task.label_names), MAX_TAG_BYTES)
    adapter = f"adapter:{manifest.adapter.kind}"
    return [MODULE_TAG, "few-shot", adapter, *labels, backbone_tag(manifest.backbone.weights_sha256)]


def _results(evaluation: tuple[EvaluationSpec, ...]) -> list[object]:
    """One result per evaluation set, as the Hub groups them."""
    by_set: dict[EvaluationSet, list[object]] = {}
    for item in evaluation:
        metric = {"type": item.metric, "value": item.value, "name": item.metric}
        by_set.setdefault(item.evaluation_set, []).append(metric)
    return [
        {"task": {"type": "text-classification"}, "dataset": _dataset(rows), "metrics": metrics}
        for rows, metrics in by_set.items()
    ]


def _dataset(rows: EvaluationSet) -> dict[str, object]:
    return {
        "name": rows.name,
        "type": rows.name,
        "split": rows.split,
        "revision": rows.sha256,
        "args": {"n": rows.n},
    }


def _yaml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_yaml(key)}: {_yaml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_yaml, value)) + "]"
    if isinstance(value, float):
        text = repr(value)  # YAML 1.1 reads 1e-05 as a text: it wants a point
        return text.replace("e", ".0e") if "e" in text and "." not in text else text
    text = json.dumps(value, ensure_ascii=False)
    return _UNSAFE_IN_YAML.sub(lambda match: f"\\u{ord(match.group()):04x}", text)
