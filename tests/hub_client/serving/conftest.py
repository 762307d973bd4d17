"""Modules of the tiny task, the app in this process, and `petapter serve` as a process of its own."""

import asyncio
import json
import os
import subprocess
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

import httpx
import pytest

from petapter import Backbone, ModuleInfo, TrainingOptions, read_examples, save_module, task_from_options, train
from petapter_hub_client.serving.app import create_app
from petapter_hub_client.serving.metrics import Metrics
from petapter_hub_client.serving.opening import Wanted, open_wanted
from petapter_hub_client.serving.options import ServeOptions, Tokens
from petapter_hub_client.serving.service import Service
from tests.hub_client.tiny_reviews import save_backbone, write_rows
from tests.registry_process import BIN

ADMIN = "admin-token-of-the-tests"
AS_ADMIN = {"Authorization": f"Bearer {ADMIN}"}
WAIT_S = 60

Result = TypeVar("Result")


@pytest.fixture(scope="session")
def served_modules(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The backbone, and two modules that answer differently, `moods` with a second pattern."""
    folder = tmp_path_factory.mktemp("served")
    backbone = Backbone.load(save_backbone(folder / "tiny-bert"), device="cpu")
    rows = write_rows(folder / "rows.csv")
    made = {"tiny-bert": folder / "tiny-bert"}
    for alias, patterns, seed in (
        ("reviews", ["{text} it was {mask} ."], 0),
        ("moods", ["{text} {mask} .", "it was {mask} . {text}"], 1),
    ):
        task = task_from_options(patterns, ["good", "bad=bad,awful"])
        options = TrainingOptions(steps=6, batch_size=4, seed=seed, adapter_lr=0.1, head_lr=0.1)
        save_module(train(task, read_examples(rows, task), backbone, options), folder / alias, ModuleInfo(alias))
        made[alias] = folder / alias
    return made


@dataclass(frozen=True)
class App:
    """A running service in this process, asked without a network."""

    service: Service
    metrics: Metrics

    def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        """One request."""
        return self.run(lambda client: client.request(method, path, **options))

    def run(self, work: Callable[[httpx.AsyncClient], Coroutine[None, None, Result]]) -> Result:
        """Requests of one event loop."""

        async def inside() -> Result:
            transport = httpx.ASGITransport(create_app(self.service, self.metrics, "0"))
            async with httpx.AsyncClient(transport=transport, base_url="http://app") as client:
                return await work(client)

        return asyncio.run(inside())

    def predict(self, *inputs: dict[str, object], **options: Any) -> httpx.Response:
        """Ask texts."""
        return self.ask("POST", "/v1/predict", json={"inputs": list(inputs)}, **options)


StartApp = Callable[..., App]


@pytest.fixture
def start_app(served_modules: dict[str, Path]) -> Iterator[StartApp]:
    """Starts apps, with both modules where none are named."""
    started: list[Service] = []

    both = [served_modules[alias] for alias in ("reviews", "moods")]

    def start(
        *, admin: str | None = None, predict: str | None = None, modules: Sequence[Path] = both, **options: Any
    ) -> App:
        metrics = Metrics()
        service = Service(ServeOptions(tokens=Tokens(admin, predict), **options), metrics)
        started.append(service)
        wanted = Wanted([str(module) for module in modules], str(served_modules["tiny-bert"]))
        service.start(lambda: open_wanted(wanted))
        return App(service, metrics)

    yield start
    for service in started:
        service.close()


@pytest.fixture
def app(start_app: StartApp) -> App:
    return start_app()


@dataclass(frozen=True)
class Process:
    """A running `petapter serve`."""

    process: "subprocess.Popen[str]"
    url: str

    def client(self, **headers: str) -> httpx.Client:
        """A caller."""
        return httpx.Client(base_url=self.url, timeout=WAIT_S, headers=headers)


StartProcess = Callable[..., Process]


@pytest.fixture
def start_process(tmp_path: Path, served_modules: dict[str, Path]) -> Iterator[StartProcess]:
    """Starts `petapter serve` with options on a free port, and waits until it says that it answers."""
    started: list[subprocess.Popen[str]] = []

    def start(*options: object) -> Process:
        command = [BIN / "petapter", "serve", "--port", "0", "--json", *options]
        if "--stack" not in options:
            command += ["--backbone", served_modules["tiny-bert"]]
        with (tmp_path / "serve.log").open("w") as log:
            process = subprocess.Popen(
                list(map(str, command)),
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=os.environ | {"PETAPTER_SERVE_TOKEN": ADMIN},
            )
        started.append(process)
        assert process.stdout is not None
        said = "".join(iter(process.stdout.readline, "}\n"))
        return Process(process, json.loads(said + "}")["url"])

    yield start
    for process in started:
        process.kill()
        process.communicate()


@dataclass
class Hold:
    """Keeps the engine of a service busy until it is let go."""

    service: Service

    def __post_init__(self) -> None:
        self.begun, self.let_go = threading.Event(), threading.Event()

    def __enter__(self) -> Self:
        engine = self.service._engine
        assert engine is not None
        predict = engine.predict

        def held(requests: Any) -> Any:
            self.begun.set()
            assert self.let_go.wait(WAIT_S)
            return predict(requests)

        engine.predict = held  # type: ignore[method-assign]
        self._first = self.service.submit([("reviews", "great food")])
        assert self.begun.wait(WAIT_S)
        return self

    def __exit__(self, *exception: object) -> None:
        self.let_go.set()
        self._first.result(WAIT_S)
