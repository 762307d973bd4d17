# ruff: noqa: PLC0415 (Ray is an extra and is imported when a run over a cluster starts, not before)
"""Answers a whole file over the workers of a Ray cluster, to the same bytes as on one machine.

Ray Data carries the texts of the file, chunk by chunk, to actors that hold an engine each, and their answers back in
order. This process reads the file too, so that rows, broken rows, results and going on after a kill are those of
`petapter.runtime.files`; no answer waits here but in Ray's object store, which holds reading back when it fills up.
"""

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from petapter.backbone import Precision
from petapter.runtime.answers import Prediction
from petapter.runtime.engine import Engine
from petapter.runtime.files import FileReport, FileRun, OnProgress
from petapter.runtime.files.checkpoint import Checkpoint
from petapter.runtime.files.chunks import Chunk
from petapter.runtime.files.running import Ask, answer_file
from petapter.runtime.ray_backbone import pack_backbone
from petapter.runtime.ray_cluster import SPARE_DEATHS, Cluster, await_room, connected, last_line, workers_of
from petapter_schemas.errors import DataError, InputError
from petapter_schemas.file_contents import ALLOWED_SUFFIXES

if TYPE_CHECKING:
    from petapter.runtime.ray_worker import LoadModules, Payload, Reading


def load_modules(engine: Engine, modules: Mapping[str, Path]) -> None:
    """Load module directories by alias.

    Raises:
        PetapterError: A module must not be used or does not fit the backbone.
    """
    for alias, directory in modules.items():
        engine.load(directory, alias)


@dataclass(frozen=True)
class ModuleSet:
    """Who answers: a backbone and modules, as directories on this machine.

    Attributes:
        backbone: The backbone's directory.
        repo: The backbone's name to record.
        revision: The backbone's commit to record.
        modules: What `load` needs, by name: by default each module's directory by the alias in the run.
        load: Loads the modules of the run in its order, in each worker; by default as `Engine.load` does.
        precision: Of the backbone's layers.
    """

    backbone: Path
    modules: Mapping[str, Path]
    repo: str
    revision: str | None = None
    load: "LoadModules" = load_modules
    precision: Precision = "float32"


def predict_file_on_ray(
    module_set: ModuleSet,
    run: FileRun,
    cluster: Cluster,
    *,
    on_progress: OnProgress | None = None,
    most_rows: int | None = None,
) -> FileReport:
    """Do what `predict_file` does over the workers of a cluster; each of the two goes on with what the other left.

    Where this process is connected to a cluster already, that one is taken and stays connected.

    Args:
        module_set: Who answers.
        run: What and where to.
        cluster: Where the workers are.
        on_progress: Told how far it has come.
        most_rows: Of a chunk; by default as `predict_file`.

    Raises:
        InputError: As `predict_file`; or the cluster cannot be reached, or its workers die again and again.
        DataError: As `predict_file`.
        PetapterError: A worker refuses a module or the backbone.
    """

    @contextmanager
    def open_ask(state: Checkpoint) -> Iterator[Ask]:
        import ray.data  # noqa: F401 (gives its logger a level of its own, which `connected` replaces)

        with connected(cluster), _stream(module_set, run, cluster, state) as answers:

            def ask(chunk: Chunk) -> Sequence[Mapping[str, Prediction]]:
                return _answers_to(chunk, run, answers)

            yield ask

    return answer_file(open_ask, run, module_set.precision, on_progress=on_progress, most_rows=most_rows)


@contextmanager
def _stream(
    module_set: ModuleSet, run: FileRun, cluster: Cluster, state: Checkpoint
) -> Iterator[Iterator[tuple[int, bytes]]]:
    """Number and answers of each chunk that has texts, in order."""
    from petapter.runtime.ray_worker import Reading

    reading = Reading(_absolute(run), state.rows, state.run.chunk_rows)
    with closing(_answered(reading, _pack(module_set, cluster), cluster)) as answers:
        yield answers


def _answered(reading: "Reading", payload: "Payload", cluster: Cluster) -> Generator[tuple[int, bytes], None, None]:
    import ray
    from ray.data import ActorPoolStrategy, DataContext, read_datasource

    from petapter.runtime.ray_worker import Deaths, Texts, Worker, read_block

    workers, with_gpu = workers_of(cluster)
    await_room(cluster, with_gpu=with_gpu)
    here = {"ray.io/node-id": ray.get_runtime_context().get_node_id()}  # where the file can be read
    deaths: Any = ray.remote(num_cpus=0, label_selector=here)(Deaths).remote()
    context = DataContext.get_current().copy()
    context.target_max_block_size = 1  # so that no two chunks share a block
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    with DataContext.current(context):
        texts = read_datasource(Texts(reading), override_num_blocks=1, num_cpus=0, label_selector=here)
        answers = texts.map_batches(
            Worker,
            fn_constructor_args=(payload, deaths, workers + SPARE_DEATHS),
            compute=ActorPoolStrategy(min_size=1, initial_size=workers, max_size=workers),
            num_cpus=1,
            num_gpus=1 if with_gpu else None,
            batch_size=1,
            batch_format="pyarrow",
        )
    for block in answers.iter_batches(batch_size=1, batch_format="pyarrow"):
        yield read_block(block)
        deaths.forget.remote()


def _answers_to(chunk: Chunk, run: FileRun, answers: Iterator[tuple[int, bytes]]) -> Sequence[Mapping[str, Prediction]]:
    from ray.exceptions import RayError, RayTaskError

    from petapter.runtime.ray_worker import is_for, read_answers

    try:
        number, data = next(answers, (None, b""))
    except RayTaskError:  # a bug of ours
        raise
    except RayError as error:
        raise InputError(
            f"the workers of the Ray cluster failed ({last_line(error)}): look at its logs, put that right and run the "
            "same again, it goes on where it was"
        ) from error
    if number is None or not is_for(number, chunk):
        raise DataError(f"{run.input} was changed while it was read: leave it alone and begin anew with --restart")
    return read_answers(data, run.modules)


def _pack(module_set: ModuleSet, cluster: Cluster) -> "Payload":
    from petapter.runtime.ray_worker import Payload

    source = (module_set.backbone, module_set.repo, module_set.revision)
    backbone = pack_backbone(source, cluster, precision=module_set.precision)
    modules = {alias: _module_files(directory) for alias, directory in module_set.modules.items()}
    return Payload(version("petapter"), backbone, modules, module_set.load)


def _module_files(directory: Path) -> dict[str, bytes]:
    """A module's or an ensemble's files by path; whoever opens it looks at those that it names."""
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.suffix in ALLOWED_SUFFIXES
    }


def _absolute(run: FileRun) -> FileRun:
    return replace(run, input=run.input.absolute())
