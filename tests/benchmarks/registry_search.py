"""What a search costs over HTTP: p50 and p95 of every kind of query on synthetic registries of some sizes.

    OMP_NUM_THREADS=1 python tests/benchmarks/registry_search.py [--modules 1000 100000 1000000]
        [--databases sqlite postgres] [--rounds 60] [--keep DIR] [--explain]

Each registry is filled through its tables (module files would take days): the label sets, languages, backbones and
figures below, drawn with a fixed seed, terms as the registry derives them. A `petapter-registry serve` process on
loopback answers one client that keeps its connection. `rounds` draws of each kind are asked after 5 for warmth; every
draw has other values, so nothing is answered from a cache of answers. A bare `GET /health` is asked in the same rounds:
what HTTP alone costs. On a machine that does other things too, read the processor time of the server instead: what its
threads, and PostgreSQL's processes, ran for each request (Linux only). `--keep DIR` leaves each filled registry in a
folder of DIR and takes it from there the next time, as filling a million takes minutes. `--explain` adds the plan of
each kind, which PostgreSQL tells by doing it.
"""

import argparse
import itertools
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import psycopg
from sqlalchemy import event

sys.path.insert(0, str(Path(__file__).parents[2]))
from petapter_registry_server.app import create_app
from petapter_registry_server.services.module_search import ModuleQuestion
from petapter_registry_server.settings import Settings
from petapter_schemas.metric_bound import MetricBound
from petapter_schemas.module_facts import BackboneFacts, MetricFacts, ModuleFacts
from tests.benchmarks.registry_filling import IntoPostgres, IntoSqlite, fill
from tests.benchmarks.registry_fixture import DATABASES, children_ms, durable_cluster, processor_ms
from tests.registry_process import Server, serving

LABEL_SETS = [
    ("positive", "negative"), ("positive", "neutral", "negative"), ("toxic", "neutral"), ("spam", "ham"),
    ("world", "sports", "business", "sci tech"), ("offense", "other"), ("joy", "anger", "fear", "sadness", "surprise"),
    ("entailment", "neutral", "contradiction"), ("complaint", "question", "praise", "request"),
    ("urgent", "normal", "low"),
    *((f"topic {a}", f"topic {b}", f"topic {c}") for a, b, c in itertools.combinations(range(20), 3)),
]  # fmt: skip
LANGUAGES = ("en", "de", "fr", "es", "it", "nl", "pl", "pt", "cs", "sv", "fi", "ja")
BACKBONES = tuple(f"org{n % 7}/encoder-{n}" for n in range(60))
SETS = tuple(f"eval-{n}" for n in range(200))
WORDS = tuple("".join(pair) for pair in itertools.product(
    ("ticket", "mail", "review", "news", "forum", "chat", "legal", "clinic", "bank", "travel"),
    ("", "s", "er", "ing", "let", "wise", "like", "ful", "less", "hood"),
))  # fmt: skip
RARE = 20_000
WARM = 5
GOALS_MS = {1_000: 15, 100_000: 40, 1_000_000: 150}


@dataclass(frozen=True)
class Kind:
    """A kind of query: what it is called, and how one is drawn."""

    name: str
    draw: Callable[[random.Random], list[tuple[str, str]]]


def skewed(draw: random.Random, values: tuple[Any, ...]) -> Any:
    """The first values are the common ones."""
    return values[int(len(values) * draw.random() ** 2)]


KINDS = (
    Kind("newest", lambda _: []),
    Kind("backbone and language", lambda d: [("backbone", skewed(d, BACKBONES)), ("language", skewed(d, LANGUAGES))]),
    Kind("two labels", lambda d: [("label", label) for label in skewed(d, tuple(LABEL_SETS))[:2]]),
    Kind(
        "two labels and a bound on a set",
        lambda d: [
            *(("label", label) for label in skewed(d, tuple(LABEL_SETS))[:2]),
            ("where", f"macro_f1@{skewed(d, SETS)}>={0.5 + d.random() / 3:.2f}"),
        ],
    ),
    Kind("exact labels", lambda d: [*(("label", x) for x in skewed(d, tuple(LABEL_SETS))), ("labels", "exact")]),
    Kind("mappable labels and language", lambda d: [("label", "a"), ("label", "b"), ("labels", "mappable"),
                                                    ("language", skewed(d, LANGUAGES))]),
    Kind("leaderboard of a set", lambda d: [("where", f"macro_f1@{skewed(d, SETS)}>=0"), ("sort", "metric")]),
    Kind(
        "leaderboard of a set and a language",
        lambda d: [("where", f"macro_f1@{skewed(d, SETS)}>=0"), ("sort", "metric"), ("language", skewed(d, LANGUAGES))],
    ),
    Kind("two words", lambda d: [("text", f"{skewed(d, WORDS)} {skewed(d, WORDS)}")]),
    Kind("a rare word", lambda d: [("text", f"w{d.randrange(RARE)}")]),
    Kind("two words and backbone", lambda d: [("text", f"{skewed(d, WORDS)} {skewed(d, WORDS)}"),
                                              ("backbone", skewed(d, BACKBONES))]),
    Kind("fingerprint by name", lambda d: [("weights", weights(skewed(d, BACKBONES))[:16]), ("sort", "name")]),
    Kind("facets of a backbone", lambda d: [("backbone", skewed(d, BACKBONES)), ("facet", "label"),
                                            ("facet", "language"), ("facet", "adapter")]),
    Kind("facets of everything", lambda d: [("facet", "language"), ("facet", "adapter"),
                                            ("language", skewed(d, LANGUAGES[:2]))]),
    Kind("nothing matches", lambda d: [("label", "toxic"), ("label", "ham"), ("language", skewed(d, LANGUAGES))]),
)  # fmt: skip


@cache
def weights(backbone: str) -> str:
    """A digest for a backbone."""
    return random.Random(backbone).randbytes(32).hex()  # noqa: S311 (a benchmark)


def facts_of(draw: random.Random) -> ModuleFacts:
    """One synthetic module."""
    backbone = skewed(draw, BACKBONES)
    figures = tuple(
        MetricFacts(
            metric=metric, value=round(0.4 + draw.random() * 0.59, 4), low=0.0, high=1.0, level=0.95,
            evaluation_set=rows, split="test", sha256=weights(rows), n=500, status="declared",
        )
        for rows in {skewed(draw, SETS), skewed(draw, SETS)}
        for metric in ("macro_f1", "accuracy")
    )  # fmt: skip
    return ModuleFacts(
        kind="petapter", digest=draw.randbytes(32).hex(), version="1.0.0",
        description=f"Sorts {skewed(draw, WORDS)} and {skewed(draw, WORDS)} texts w{draw.randrange(RARE)}",
        languages=(skewed(draw, LANGUAGES),), task_type="single-label", labels=skewed(draw, tuple(LABEL_SETS)),
        patterns=2,
        backbone=BackboneFacts(repo=backbone, config_sha256=weights(backbone), weights_sha256=weights(backbone),
                               tokenizer_sha256=weights(backbone)),
        adapter_kind=skewed(draw, ("lora", "ia3", "bottleneck", "bitfit")), parameters=1000,
        size_bytes=draw.randrange(10_000, 3_000_000), metrics=figures,
    )  # fmt: skip


@dataclass(frozen=True)
class Filled:
    """A server over a filled registry.

    Attributes:
        server: It runs.
        database: The address of its PostgreSQL database.
        postgres: The process that starts those of PostgreSQL.
        seconds: What filling took, now or before.
        size_mib: Of the database.
    """

    server: Server
    database: str | None
    postgres: int | None
    seconds: float
    size_mib: float

    def ran_ms(self) -> tuple[float, float]:
        """What the server's threads and PostgreSQL's processes have run."""
        return processor_ms(self.server.process.pid), children_ms(self.postgres) if self.postgres else 0.0


@contextmanager
def filled(kind: str, modules: int, keep: Path | None = None) -> Iterator[Filled]:
    """A server over so many modules, taken from a folder of `keep` if one is there, and left there."""
    with ExitStack() as stack:
        if keep is None:
            place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="petapter-search-")))
        else:
            place = keep / f"{kind}-{modules}"
        cluster = stack.enter_context(durable_cluster(keep and place / "postgres")) if kind == "postgres" else None
        url, data, note = cluster and cluster.url("search"), place / "data", place / "seconds"
        if not note.exists():
            if data.exists():
                sys.exit(f"{place} holds a registry whose filling did not end: remove it")
            if cluster:
                cluster.create("search")
            note.write_text(f"{_fill(data, url, modules):.0f}")
        server = stack.enter_context(serving(data, database=url))
        postgres = cluster.process.pid if cluster else None
        yield Filled(server, url, postgres, float(note.read_text()), _size_mib(data, url))


def _fill(data: Path, url: str | None, modules: int) -> float:
    app = create_app(Settings(data=data, database=url))
    app.state.services.accounts.create_first_admin()
    app.state.database.close()
    return fill(IntoSqlite(data / "registry.sqlite") if url is None else IntoPostgres(url), modules, facts_of)


def _size_mib(data: Path, url: str | None) -> float:
    if url is None:
        return (data / "registry.sqlite").stat().st_size / 2**20
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        found = connection.execute("SELECT pg_database_size(current_database())").fetchone()
    return found[0] / 2**20 if found else 0.0


def measure(registry: Filled, rounds: int) -> dict[str, list[tuple[float, float, float]]]:
    """Milliseconds of every kind, in turns: on the clock, of the server's processor, and of PostgreSQL's."""
    spent: dict[str, list[tuple[float, float, float]]] = {}
    with httpx.Client(base_url=registry.server.url, timeout=60) as client:
        for round_number in range(WARM + rounds):
            draw = random.Random(round_number)  # noqa: S311 (a benchmark)
            for kind in (Kind("GET /health", lambda _: []), *KINDS):
                path = "/health" if kind.name == "GET /health" else "/api/petapter/v1/modules"
                query = kind.draw(draw)
                before, began = registry.ran_ms(), time.perf_counter()
                answer = client.get(path, params=query)
                took = (time.perf_counter() - began) * 1000
                ran = [now - then for now, then in zip(registry.ran_ms(), before, strict=True)]
                if answer.status_code != httpx.codes.OK:
                    raise RuntimeError(f"{kind.name}: {answer.text}")
                if round_number >= WARM:
                    spent.setdefault(kind.name, []).append((took, *ran))
    return spent


def middle_and_high(times: tuple[float, ...]) -> tuple[float, float]:
    """p50 and p95."""
    return statistics.median(times), statistics.quantiles(times, n=20)[-1]


def explain(data: Path, database: str | None) -> None:
    """Print the plan of every statement of one query of each kind."""
    app = create_app(Settings(data=data, database=database))
    services = app.state.services
    seen: list[tuple[str, Any]] = []
    engine = services.module_search._database._engine
    event.listen(engine, "before_cursor_execute", lambda *a: seen.append((a[2], a[3])))
    command = "EXPLAIN (ANALYZE, BUFFERS)" if database else "EXPLAIN QUERY PLAN"
    for kind in KINDS:
        query = kind.draw(random.Random(3))  # noqa: S311 (a benchmark)
        seen.clear()
        services.module_search.search(services.access.authenticate(None, None), question_of(query))
        print(f"\n{kind.name}: {query}")
        with engine.connect() as connection:
            for statement, values in [each for each in seen if each[0].startswith(("SELECT", "WITH"))]:
                print(f"\n  {' '.join(statement.split())[:2000]}")
                for row in connection.exec_driver_sql(f"{command} {statement}", values):
                    print("   ", row[-1])
    app.state.database.close()


def question_of(query: list[tuple[str, str]]) -> ModuleQuestion:
    """The same question without HTTP."""

    def several(name: str) -> tuple[str, ...]:
        return tuple(value for key, value in query if key == name)

    single = dict(query)
    return ModuleQuestion(
        text=single.get("text", ""), labels=several("label"), label_mode=single.get("labels", "superset"),  # type: ignore[arg-type]
        properties=tuple((key, value) for key, value in query if key in {"language", "backbone"}),
        fingerprints=tuple((key, value) for key, value in query if key == "weights"),
        bounds=tuple(map(MetricBound.parse, several("where"))), order=single.get("sort", "updated"),  # type: ignore[arg-type]
        facets=several("facet"),
    )  # fmt: skip


def report(kind: str, modules: int, options: argparse.Namespace) -> Iterator[str]:
    """The figures of one size on one database, as Markdown."""
    with filled(kind, modules, options.keep) as registry:
        load = f"load average {os.getloadavg()[0]:.1f}"
        yield f"\n## {modules:,} modules on {kind}, {load} at the start\n\nFilled in {registry.seconds:.0f} s; "
        yield f"the database has {registry.size_mib:.0f} MiB. "
        yield f"Aim: p95 of {GOALS_MS[modules]} ms.\n" if modules in GOALS_MS else ""
        shown = 3 if registry.postgres else 2
        of_postgres = " PostgreSQL's p50 ms | p95 ms |" if registry.postgres else ""
        yield f"| query | p50 ms | p95 ms | server's processor p50 ms | p95 ms |{of_postgres}"
        yield "|---" * (2 * shown + 1) + "|"
        for name, spent in measure(registry, options.rounds).items():
            columns = [*zip(*spent, strict=True)][:shown]
            cells = [f"{figure:.1f}" for times in columns for figure in middle_and_high(times)]
            yield f"| {name} | {' | '.join(cells)} |"
        if options.explain:
            registry.server.kill()
            explain(registry.server.data, registry.database)


def main() -> None:
    """Run and print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--modules", type=int, nargs="+", default=[1_000, 100_000])
    parser.add_argument("--databases", nargs="+", default=[*DATABASES], choices=[*DATABASES])
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--keep", type=Path, help="a folder for filled registries, on a disk with room")
    parser.add_argument("--explain", action="store_true")
    options = parser.parse_args()
    for modules in options.modules:
        for kind in options.databases:
            for line in report(kind, modules, options):
                print(line, flush=True)


if __name__ == "__main__":
    main()
