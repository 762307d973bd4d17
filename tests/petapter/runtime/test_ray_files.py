"""Files over the workers of a Ray cluster: the same files as on one machine, whoever dies on the way."""

import json
import logging
import os
import signal
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray")

from petapter import Backbone, Engine, ModuleInfo, TrainedModule, save_module
from petapter.runtime.files import FileModule, FileProgress, FileReport, FileRun, predict_file
from petapter.runtime.ray_cluster import Cluster
from petapter.runtime.ray_files import ModuleSet, load_modules, predict_file_on_ray
from petapter_schemas.errors import BackboneError, DataError, InputError, PetapterError
from tests.petapter.conftest import SENTIMENT, TOPIC

pytestmark = pytest.mark.slow

MODULES = (FileModule("mood", SENTIMENT, "a" * 64), FileModule("topic", TOPIC, "b" * 64))
TEXTS = ["a fine game", "the bank was bad", 'it was "great"', "", "not a\nbad price", "an ünusual ball"]
DEADLY = "business"


class Stopped(Exception):  # noqa: N818 (what a test does to a run)
    """Ends a run between two chunks."""


@pytest.fixture(scope="module")
def module_set(
    directories: dict[str, Path],
    sentiment: TrainedModule,
    topic: TrainedModule,
    tmp_path_factory: pytest.TempPathFactory,
) -> ModuleSet:
    folder = tmp_path_factory.mktemp("module_set")
    for name, module in (("mood", sentiment), ("topic", topic)):
        save_module(module, folder / name, ModuleInfo(name))
    return ModuleSet(directories["bert"], {"mood": folder / "mood", "topic": folder / "topic"}, "bert")


@pytest.fixture
def engine(bert: Backbone, module_set: ModuleSet) -> Iterator[Engine]:
    with Engine(bert) as engine:
        load_modules(engine, module_set.modules)
        yield engine


@pytest.fixture
def run(tmp_path: Path) -> FileRun:
    """60 rows, ten of them broken; the word that some workers die of stands once, in the fourth chunk of ten rows."""
    source = tmp_path / "in.jsonl"
    rows = [
        {
            "id": number,
            "text": TEXTS[number % 6],
            "title": "the match",
            "body": f"a goal {DEADLY if number == 34 else ''}",
        }
        for number in range(60)
    ]
    source.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return FileRun(source, tmp_path / "answers.csv", MODULES, keep=("id", "text"))


def on_one_machine(engine: Engine, run: FileRun) -> FileRun:
    whole = replace(run, output=run.output.with_name(f"whole{run.output.suffix}"))
    predict_file(engine, whole, most_rows=10)
    return whole


def assert_same_files(run: FileRun, whole: FileRun) -> None:
    assert run.output.read_bytes() == whole.output.read_bytes()
    assert run.errors.read_bytes() == whole.errors.read_bytes()
    assert not [path for path in run.output.parent.iterdir() if ".part" in path.name]


def stop_at_ten(progress: FileProgress) -> None:
    if progress.rows == 10:
        raise Stopped


def deadly(module_set: ModuleSet, folder: Path, times: int) -> ModuleSet:
    """Workers that are killed in the midst of the chunk with the deadly word, so many times."""

    def load(engine: Engine, modules: Mapping[str, Path]) -> None:
        load_modules(engine, modules)
        score = engine.predict_all

        def predict_all(texts: list[dict[str, str]], aliases: tuple[str, ...]) -> object:
            deaths = len(list(folder.iterdir()))
            if any(DEADLY in text["body"] for text in texts) and deaths < times:
                (folder / str(os.getpid())).touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return score(texts, aliases)

        engine.predict_all = predict_all  # type: ignore[method-assign,assignment]

    return replace(module_set, load=load)


def test_run_that_one_machine_began_survives_a_killed_worker_and_its_files_are_the_same(
    cluster: Cluster, module_set: ModuleSet, engine: Engine, run: FileRun, tmp_path: Path
) -> None:
    (tmp_path / "deaths").mkdir()
    mortal = deadly(module_set, tmp_path / "deaths", 1)
    told: list[int] = []
    with pytest.raises(Stopped):
        predict_file(engine, run, most_rows=10, on_progress=stop_at_ten)
    report = predict_file_on_ray(mortal, run, cluster, most_rows=10, on_progress=lambda done: told.append(done.rows))
    assert report == FileReport(run.output, 60, 10, 0, run.errors)
    assert told == [10, 20, 30, 40, 50, 60]
    assert len(list((tmp_path / "deaths").iterdir())) == 1
    assert_same_files(run, on_one_machine(engine, run))


def test_workers_that_only_die_end_the_run_and_one_machine_goes_on_with_it(
    cluster: Cluster,
    module_set: ModuleSet,
    engine: Engine,
    run: FileRun,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = replace(run, output=run.output.with_suffix(".parquet"))
    monkeypatch.setattr("petapter.runtime.ray_files.SPARE_DEATHS", -1)
    (tmp_path / "deaths").mkdir()
    with pytest.raises(InputError, match=r"died 1 times since the last chunk.*goes on where it was"):
        predict_file_on_ray(deadly(module_set, tmp_path / "deaths", 99), run, replace(cluster, workers=1), most_rows=10)
    starts: list[int] = []
    predict_file(engine, run, most_rows=10, on_progress=lambda done: starts.append(done.rows))
    assert 0 < starts[0] <= 30
    assert_same_files(run, on_one_machine(engine, run))


def test_workers_answer_in_the_precision_that_is_asked_for(
    cluster: Cluster, module_set: ModuleSet, run: FileRun, directories: dict[str, Path]
) -> None:
    rough = Backbone.load(directories["bert"], device="cpu", precision="bfloat16")
    with Engine(rough) as engine:
        load_modules(engine, module_set.modules)
        whole = on_one_machine(engine, run)
    predict_file_on_ray(replace(module_set, precision="bfloat16"), run, replace(cluster, workers=1), most_rows=10)
    assert_same_files(run, whole)


def test_cluster_without_room_is_told_once_and_waited_for(
    cluster: Cluster, module_set: ModuleSet, engine: Engine, run: FileRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    class Other:
        def begun(self) -> None:
            pass

    other: Any = ray.remote(num_cpus=2)(Other).remote()
    ray.get(other.begun.remote())
    told: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            told.append(record.getMessage())
            ray.kill(other)

    monkeypatch.setattr("petapter.runtime.ray_cluster._ROOM_SECONDS", 0.5)
    logger = logging.getLogger("petapter.runtime.ray_cluster")
    logger.addHandler(listener := Listener())
    try:
        predict_file_on_ray(module_set, run, replace(cluster, workers=1), most_rows=10)
    finally:
        logger.removeHandler(listener)
    assert len(told) == 1
    assert "no room for a worker for 0.5 seconds (0 of 2 processors are free)" in told[0]
    assert_same_files(run, on_one_machine(engine, run))


def test_worker_that_refuses_a_module_says_why_and_nothing_stays(
    cluster: Cluster, module_set: ModuleSet, directories: dict[str, Path], run: FileRun
) -> None:
    other = replace(module_set, backbone=directories["other-bert"])
    with pytest.raises(PetapterError, match="trained on"):
        predict_file_on_ray(other, run, replace(cluster, workers=1))
    assert [path.name for path in run.output.parent.iterdir()] == ["in.jsonl"]


def test_file_without_columns_or_rows_is_refused_as_on_one_machine(
    cluster: Cluster, module_set: ModuleSet, run: FileRun
) -> None:
    run.input.write_text("")
    with pytest.raises(DataError, match="has no rows"):
        predict_file_on_ray(module_set, run, cluster)
    with pytest.raises(InputError, match="input itself"):
        replace(run, output=run.input)


def test_backbone_that_the_worker_does_not_see_is_sent(
    cluster: Cluster, module_set: ModuleSet, engine: Engine, tmp_path: Path
) -> None:
    from petapter.runtime.ray_backbone import _backbone_files
    from petapter.runtime.ray_files import _pack
    from petapter.runtime.ray_worker import load_engine

    payload = _pack(module_set, cluster)
    assert not payload.backbone.files  # one machine
    elsewhere = replace(payload.backbone, directory=tmp_path / "nowhere")
    with pytest.raises(BackboneError, match="when the run began"):
        load_engine(replace(payload, backbone=elsewhere))
    files = _backbone_files(module_set.backbone)
    with load_engine(replace(payload, backbone=replace(elsewhere, files=files))) as sent:
        fields = {"text": "a fine game", "title": "the match", "body": "a goal"}
        assert sent.predict_all([fields]) == engine.predict_all([fields])


def test_module_that_was_changed_on_the_way_is_refused(cluster: Cluster, module_set: ModuleSet) -> None:
    from petapter.runtime.ray_files import _pack
    from petapter.runtime.ray_worker import load_engine

    payload = _pack(module_set, cluster)
    head = payload.modules["mood"]["head.safetensors"]
    damaged = payload.modules["mood"] | {"head.safetensors": head[:-1] + bytes([head[-1] ^ 1])}  # type: ignore[operator]
    with pytest.raises(PetapterError, match="sha256"):
        load_engine(replace(payload, modules=dict(payload.modules) | {"mood": damaged}))
    with pytest.raises(InputError, match="install the same on both"):
        load_engine(replace(payload, version="0.0.1"))


@pytest.mark.parametrize(
    ("address", "workers", "cause"), [("ray://host:10001", None, "give HOST:PORT"), (None, 0, "one worker or more")]
)
def test_cluster_that_cannot_be_meant_is_refused(address: str | None, workers: int | None, cause: str) -> None:
    with pytest.raises(InputError, match=cause):
        Cluster(address, workers)
