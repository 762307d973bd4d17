"""What the tests of pages look at: a team with a few modules, one of them with versions, plots, a parent and a card."""

import json
from dataclasses import dataclass, replace
from typing import Any

from petapter_schemas.digests import sha256_bytes
from tests.registry_server.conftest import Caller, Registry
from tests.registry_server.evaluation_data import measure, published_set, send_set, spec_of
from tests.registry_server.varied_modules import Figure, Varied

CARD = """---
license: apache-2.0
language: [en, de]
---
# Tickets

Sorts helpdesk tickets by what their writers want. Written for **short** messages; see [the paper](https://arxiv.org/abs/2412.04975).

## What it is good for

| queue | share |
|---|---|
| praise | 61 % |
| complaints | 39 % |

    petapter predict --module team/tickets "The app crashes"

> Not for contracts.

- one
- two
"""
PROBES = (
    "The update fixed everything, thank you!", "The app crashes when I open it.", "Great support, answered in minutes.",
    "I was charged twice this month.", "Works as described.", "Nobody answers my mails.", "Fast and friendly.",
    "The invoice is wrong again.",
)  # fmt: skip


TICKET_ROWS = tuple(
    {"text": f"{PROBES[number % len(PROBES)]} Case {number + 1}.", "label": ("very good", "poor")[number % 2]}
    for number in range(200)
)
BOARD = {
    "tickets-small": (0.842, "verified"), "tickets-base": (0.861, "verified"),
    "tickets-old": (0.713, "verified"), "tickets-large": (0.87, "reproduced"),
    "tickets-new": (0.91, "declared"), "tickets-fast": (0.935, "disputed"),
}  # fmt: skip


@dataclass(frozen=True)
class PageModule:
    """A module with everything that its page can show."""

    varied: Varied
    card: str = CARD

    def files(self) -> dict[str, bytes]:
        files = self.varied.files()
        manifest = json.loads(files["petapter.json"])
        manifest["evaluation"] = [*manifest["evaluation"], _calibration()]
        manifest["task"]["labels"][0] |= {"description": "The writer is content."}
        manifest["task"]["labels"][1] |= {"description": "The writer wants something to change."}
        files["README.md"] = self.card.encode()
        files["golden.json"] = _probes()
        files["plots.json"] = _plots(self.varied, manifest["training"]["steps"])
        manifest["files"].append({"path": "plots.json"})
        for entry in manifest["files"]:
            entry |= {"size": len(files[entry["path"]]), "sha256": sha256_bytes(files[entry["path"]])}
        return files | {"petapter.json": json.dumps(manifest).encode()}


def publish(caller: Caller, repo_id: str, version: str, files: dict[str, bytes]) -> str:
    """Commit and tag; the digest of the manifest."""
    caller.published(repo_id, files)
    tagged = caller.call("POST", f"/api/models/{repo_id}/tag/main", json={"tag": f"v{version}"})
    assert tagged.status_code == 200, tagged.text
    return sha256_bytes(files["petapter.json"])


def fill(registry: Registry) -> Caller:
    """A team of `ada`; her caller."""
    ada = registry.caller("ada")
    registry.app.state.services.accounts.create_user("grace")
    about = "Sorts helpdesk tickets by what their writers want"
    first = (Figure("macro_f1", 0.71, "tickets-2024"), Figure("accuracy", 0.75, "tickets-2024"))
    second = (Figure("macro_f1", 0.78, "tickets-2024"), Figure("accuracy", 0.8, "tickets-2024"))
    tickets = Varied(version="1.0.0", description=about, figures=first)
    assert ada.create("team/tickets").status_code == 200
    publish(ada, "team/tickets", "1.0.0", PageModule(tickets).files())
    better = replace(tickets, version="1.1.0", fill=0.25, figures=second)
    digest = publish(ada, "team/tickets", "1.1.0", PageModule(better).files())
    others = {
        "team/tickets-de": Varied(languages=("de",), parent=digest, description="For German tickets", fill=0.1),
        "team/toxicity": Varied(labels=("toxic", "neutral"), languages=("de", "en"), backbone="deepset/gbert-base",
                                description="Insults and threats in comments", weights="1",
                                figures=(Figure("macro_f1", 0.69, "germeval18-test", "b"),)),
        "team/spam": Varied(labels=("spam", "ham"), backbone="xlm-roberta-base", weights="2", fill=0.3,
                            description="Unwanted mail",
                            figures=(Figure("accuracy", 0.97, "enron-dev", "c", half=0.02),)),
    }  # fmt: skip
    for name, varied in others.items():
        assert ada.create(name).status_code == 200
        publish(ada, name, "1.0.0", varied.files())
    return ada


def tell(registry: Registry, ada: Caller) -> None:
    """A webhook of the team that was told something, with and without success; nothing is sent for it."""
    wish = {"for": "team/*", "url": "https://8.8.8.8/hooks/petapter"}
    for _ in range(2):
        assert ada.call("POST", "/api/petapter/v1/webhooks", json=wish).status_code == 200
    assert ada.call("POST", "/api/petapter/v1/webhooks/1/ping").status_code == 200
    for reason in ("labels were swapped", "labels are still swapped"):
        yank = "/api/petapter/v1/modules/team/tickets/versions/1.0.0/yank"
        assert ada.call("PUT", yank, json={"reason": reason}).status_code == 200
    assert ada.call("DELETE", yank).status_code == 200
    registry.change(
        "DELETE FROM webhook_deliveries WHERE webhook_id = 2",
        "UPDATE webhook_deliveries SET state = 'delivered', attempts = 1, due_ms = NULL, status = 204 WHERE id < 3",
        "UPDATE webhook_deliveries SET state = 'failed', attempts = 8, due_ms = NULL, status = 500,"
        " problem = 'it answered with status 500' WHERE kind = 'unyank'",
        "UPDATE webhooks SET failures = 3 WHERE id = 1",
    )


def _calibration() -> dict[str, Any]:
    entry = Figure("ece", 0.06, "tickets-2024").entry()
    bins = [(0.52, 0.45), (0.61, 0.58), (0.7, 0.66), (0.79, 0.8), (0.88, 0.86), (0.96, 0.93)]
    pairs = [{"confidence": confidence, "accuracy": accuracy} for confidence, accuracy in bins]
    return entry | {"reliability": pairs, "interval": entry["interval"] | {"low": 0.03, "high": 0.1}}


def _plots(varied: Varied, steps: int) -> bytes:
    """A confusion matrix that fits the accuracy, and a loss that falls."""
    accuracy = next(figure for figure in varied.figures if figure.metric == "accuracy")
    entry = accuracy.entry()["evaluation_set"]
    right = round(accuracy.value * entry["n"])
    first, second = right // 2, right - right // 2
    counts = [[first, 10 - first], [10 - second, second]]
    losses = [{"step": step, "loss": round(0.7 * 0.8**step + 0.05, 4)} for step in range(1, steps + 1)]
    return json.dumps(
        {"schema_version": 1, "losses": losses, "confusions": [{"evaluation_set": entry, "counts": counts}]}
    ).encode()


def _probes() -> bytes:
    probes = [
        {"fields": {"text": text}, "log_probabilities": [-0.11, -2.3] if number % 2 == 0 else [-2.3, -0.11]}
        for number, text in enumerate(PROBES)
    ]
    return json.dumps({"tolerance": 1e-3, "probes": probes}).encode()


def fill_board(registry: Registry, namespace: str) -> None:
    """A set with a leaderboard on which every status is, and one of which only the digest is here."""
    ada = registry.caller("ada")
    spec = published_set(
        ada,
        namespace,
        TICKET_ROWS,
        name="tickets-2024",
        description="Helpdesk tickets of the year 2024, two hundred of them",
    )
    kept_back = TICKET_ROWS[:50]
    licensed = spec_of(
        kept_back, name="licensed", license="LicenseRef-own", source="https://example.org/licensed-tickets"
    )
    assert send_set(ada, namespace, licensed).status_code == 200
    for number, (module, (value, status)) in enumerate(BOARD.items()):
        name = f"{namespace}/{module}"
        figures = [
            Figure(metric, value - less, "tickets-2024", spec.rows_sha256, n=spec.n, half=0.02)
            for metric, less in (("accuracy", 0.0), ("macro_f1", 0.013))
        ]
        assert ada.create(name).status_code == 200
        publish(ada, name, "1.0.0", Varied(fill=number / 7, figures=tuple(figures)).files())
        if status != "declared":
            measured = value - 0.09 if status == "disputed" else value
            measure(registry, name, spec.rows_sha256, status, accuracy=measured, macro_f1=measured - 0.013)
