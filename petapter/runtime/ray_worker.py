"""What Ray carries and runs elsewhere: texts out, answers back, and the engine in between; imported where Ray is.

Every block of the dataset is one row, and every row is one chunk of the file: the number of its first row, and JSON.
Code and the values of this file travel as Ray carries them, by cloudpickle between our own processes; what came with a
module stays bytes until it is opened with every check.
"""

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray
from ray.data import Datasource, ReadTask
from ray.data.block import BlockMetadata

from petapter.runtime.answers import Prediction
from petapter.runtime.engine import Engine
from petapter.runtime.files import FileModule, FileRun
from petapter.runtime.files.chunks import Chunk, chunks
from petapter.runtime.files.rows import open_rows
from petapter.runtime.ray_backbone import BackbonePayload, check_version, receive_backbone, write_below
from petapter_schemas.errors import PetapterError

LoadModules = Callable[[Engine, Mapping[str, Path]], None]
"""Loads modules into an engine, in the order of the run, from directories by name; workers can import it."""


@dataclass(frozen=True)
class Payload:
    """What a worker needs: the backbone, and of each directory by name the bytes of its files by path.

    Attributes:
        version: Of the petapter that asks; another one might answer otherwise.
    """

    version: str
    backbone: BackbonePayload
    modules: Mapping[str, Mapping[str, bytes]]
    load: LoadModules


@dataclass(frozen=True)
class Reading:
    """Which chunks of a file are asked about: all beyond the first rows."""

    run: FileRun
    rows_done: int
    chunk_rows: int

    def texts(self) -> Iterator[tuple[int, bytes]]:
        """Number and texts of each chunk that has any.

        Where the file cannot be read the stream breaks off: whoever asks reads it too, and tells why.
        """
        run = self.run
        try:
            with open_rows(run.input, tuple(dict.fromkeys((*run.fields, *run.keep)))) as reader:
                rows = islice(reader.rows(), self.rows_done, None)
                for chunk in chunks(rows, run.fields, run.keep, self.chunk_rows):
                    if chunk.rows:
                        yield chunk.rows[0].number, _json([dict(row.fields) for row in chunk.rows])
        except PetapterError:
            return


class Texts(Datasource):
    """The texts of a file as a Ray dataset, read in order by one task."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    def estimate_inmemory_data_size(self) -> int | None:
        """Nobody knows."""
        return None

    def get_read_tasks(self, *_arguments: object, **_options: object) -> list[ReadTask]:
        """The one task."""
        reading = self._reading
        unknown = BlockMetadata(num_rows=None, size_bytes=None, exec_stats=None, input_files=None)
        return [ReadTask(lambda: (_block(*each) for each in reading.texts()), unknown)]


class Deaths:
    """An actor that counts how often workers died since the last chunk was done: a run in which they only die ends."""

    def __init__(self) -> None:
        self._deaths = 0

    def count(self) -> int:
        """One more; returns how many there are."""
        self._deaths += 1
        return self._deaths

    def forget(self) -> None:
        """Begin anew."""
        self._deaths = 0


class TooManyDeathsError(Exception):
    """Workers die without getting anything done."""


class Worker:
    """An engine in a process of its own, on whichever machine of the cluster.

    What makes it refuse is told in its answers, since an error of a constructor reaches nobody in one piece.
    """

    def __init__(self, payload: Payload, deaths: Any, most_deaths: int) -> None:  # noqa: ANN401 (a handle of Ray's)
        """Load everything.

        Raises:
            TooManyDeathsError: Ray started it anew once too often.
        """
        reborn = ray.get_runtime_context().was_current_actor_reconstructed
        if reborn and (count := ray.get(deaths.count.remote())) > most_deaths:
            raise TooManyDeathsError(f"workers died {count} times since the last chunk was done")
        self._aliases: tuple[str, ...] = ()
        self._engine: Engine | None = None
        self._refusal = ""
        try:
            self._engine = load_engine(payload)
            self._aliases = self._engine.aliases
        except PetapterError as error:
            self._refusal = str(error)

    def __call__(self, block: pa.Table) -> pa.Table:
        """Answer the texts of one block."""
        number, texts = read_block(block)
        return _block(number, self._answers(texts))

    def _answers(self, texts: bytes) -> bytes:
        if self._engine is None:
            return _json(self._refusal)
        said = self._engine.predict_all(json.loads(texts), self._aliases)
        return _json([[_spoken(answers[alias]) for alias in self._aliases] for answers in said])


def load_engine(payload: Payload) -> Engine:
    """An engine with everything loaded; files are written to the disk for as long as that takes.

    Raises:
        PetapterError: The backbone is not the one that was sent, a module must not be used, or versions differ.
    """
    check_version(payload.version)
    with tempfile.TemporaryDirectory(prefix="petapter-ray-") as scratch:
        engine = Engine(receive_backbone(payload.backbone, Path(scratch) / "backbone"))
        directories = {alias: Path(scratch) / "modules" / str(i) for i, alias in enumerate(payload.modules)}
        for alias, directory in directories.items():
            for path, data in payload.modules[alias].items():
                write_below(directory, path, data)
        payload.load(engine, directories)
    return engine


def read_block(block: pa.Table) -> tuple[int, bytes]:
    """Number and JSON of a block."""
    return block["number"][0].as_py(), block["data"][0].as_py()


def read_answers(data: bytes, modules: Sequence[FileModule]) -> list[dict[str, Prediction]]:
    """The answers of a worker, as an engine gives them.

    Raises:
        PetapterError: The worker refused.
    """
    said = json.loads(data)
    if isinstance(said, str):
        raise PetapterError(said)
    return [{module.alias: _heard(module, spoken) for module, spoken in zip(modules, row, strict=True)} for row in said]


def is_for(number: int, chunk: Chunk) -> bool:
    """Whether a block is that of a chunk."""
    return number == chunk.rows[0].number


def _block(number: int, data: bytes) -> pa.Table:
    return pa.table({"number": pa.array([number], pa.int64()), "data": pa.array([data], pa.large_binary())})


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


def _spoken(said: Prediction) -> list[object]:
    return [said.label, said.labels, list(said.probabilities.values()), said.lost_tokens]


def _heard(module: FileModule, spoken: list[Any]) -> Prediction:
    label, labels, probabilities, lost = spoken
    by_label = dict(zip(module.task.label_names, probabilities, strict=True))
    return Prediction(module.alias, label, by_label, lost, tuple(labels))
