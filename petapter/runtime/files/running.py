"""Answers a whole file with many modules, chunk by chunk, and goes on after a kill where the last chunk ended.

While it runs, answers lie in `OUTPUT.part`, broken rows in `OUTPUT.errors.jsonl.part`, and `OUTPUT.part.json` says how
much of both counts: it is replaced after both are on the disk, and what they hold beyond it is cut off later on.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from filelock import FileLock, Timeout

from petapter.backbone import Precision
from petapter.runtime.answers import Prediction
from petapter.runtime.engine import Engine
from petapter.runtime.files.checkpoint import Checkpoint, ModuleKey, RunKey, read_checkpoint, write_checkpoint
from petapter.runtime.files.chunks import Chunk, chunk_rows, chunks
from petapter.runtime.files.layout import Answered, FileModule, Layout, broken_line
from petapter.runtime.files.parquet import check_installed
from petapter.runtime.files.rows import Format, format_of, open_rows
from petapter.runtime.files.sinks import AnswersPart, GrowingFile, ParquetAnswers, TextAnswers, writing
from petapter_schemas.digests import sha256_file
from petapter_schemas.durable import sync_directory
from petapter_schemas.errors import DataError, InputError


@dataclass(frozen=True)
class FileRun:
    """What is to be answered and where the answers go.

    Attributes:
        input: CSV with a header, JSON Lines (`.jsonl`, `.ndjson`) or Parquet (`.parquet`), by its suffix.
        output: Likewise; its suffix must be one of these.
        modules: Modules loaded in the engine, in the order of the answers.
        keep: Columns of the input that the answers bear too.
        overwrite: Whether an output that exists may be replaced, at the end.
        restart: Whether what an earlier run left behind is thrown away.

    Raises:
        InputError: Format or place of the output will not do, two of its columns have one name, or pyarrow is missing.
    """

    input: Path
    output: Path
    modules: tuple[FileModule, ...]
    keep: tuple[str, ...] = ()
    overwrite: bool = False
    restart: bool = False

    def __post_init__(self) -> None:
        if format_of(self.output) is None:
            raise InputError(f"{self.output} must end in .csv, .jsonl or .parquet: choose another name")
        if self.output.exists() and self.input.exists() and self.output.samefile(self.input):
            raise InputError(f"{self.output} is the input itself: choose another output")
        for path in (self.input, self.output):
            if format_of(path) == "parquet":
                check_installed(path)
        if self.output_format != "jsonl":
            self.layout.columns()
        if not self.output.parent.is_dir():
            raise InputError(f"{self.output.parent} is no directory: make it first")

    @property
    def output_format(self) -> Format:
        """How the answers are written."""
        return format_of(self.output) or "csv"

    @property
    def layout(self) -> Layout:
        """What a row of answers looks like."""
        return Layout(self.modules, self.keep)

    @property
    def fields(self) -> tuple[str, ...]:
        """The text fields that the modules need, each once."""
        return tuple(dict.fromkeys(field for module in self.modules for field in module.task.fields))

    @property
    def errors(self) -> Path:
        """Where broken rows are listed."""
        return self.output.with_name(f"{self.output.name}.errors.jsonl")


@dataclass(frozen=True)
class FileProgress:
    """How far a run has come: rows that are on the disk, and the share of the input that was read, from 0 to 1."""

    rows: int
    share: float


@dataclass(frozen=True)
class FileReport:
    """What a finished run has done.

    Attributes:
        output: The answers.
        rows: Rows of the input.
        broken: How many of them have no answer.
        cut: Of how many the backbone could not read the whole text.
        errors: The list of those; None if there are none.
    """

    output: Path
    rows: int
    broken: int
    cut: int
    errors: Path | None


OnProgress = Callable[[FileProgress], None]
"""Called when a run begins or goes on, and after each chunk."""

Ask = Callable[[Chunk], Sequence[Mapping[str, Prediction]]]
"""Gives the answers to the texts of a chunk: by alias, one mapping per row; chunks come in order, none without rows."""

OpenAsk = Callable[[Checkpoint], AbstractContextManager[Ask]]
"""Called when there is something to answer, with how far the run has come."""


def predict_file(
    engine: Engine, run: FileRun, *, on_progress: OnProgress | None = None, most_rows: int | None = None
) -> FileReport:
    """Answer every row of a file with all modules of a run, or the rest of it that an earlier call left undone.

    Neither input nor output is held in memory. A row that cannot be read is listed with its line and the reason.

    Args:
        engine: With the modules loaded.
        run: What and where to.
        on_progress: Told how far it has come.
        most_rows: Of a chunk; by default `chunk_rows`.

    Raises:
        InputError: The output exists, another run's part is in the way, or the disk refused.
        DataError: The input cannot be read at all, or has no rows.
    """
    aliases = [module.alias for module in run.modules]

    def ask(chunk: Chunk) -> Sequence[Mapping[str, Prediction]]:
        return engine.predict_all([row.fields for row in chunk.rows], aliases)

    return answer_file(
        lambda _state: nullcontext(ask), run, engine.precision, on_progress=on_progress, most_rows=most_rows
    )


def answer_file(
    open_ask: OpenAsk,
    run: FileRun,
    precision: Precision,
    *,
    on_progress: OnProgress | None = None,
    most_rows: int | None = None,
) -> FileReport:
    """`predict_file`, whoever answers, in a precision; the same answers give the same files.

    Raises:
        InputError: As `predict_file`.
        DataError: As `predict_file`.
    """
    with _alone(run.output):
        files = _Files(run, _key(run, precision, most_rows or chunk_rows(len(run.modules))))
        state = files.begin()
        if not state.finished:
            state = _answer(open_ask, files, state, on_progress or _silent)
        files.finish(state)
    return FileReport(run.output, state.rows, state.broken, state.cut, run.errors if state.broken else None)


class _Files:
    """The files of a run that is under way."""

    def __init__(self, run: FileRun, key: RunKey) -> None:
        name = run.output.name
        self.run = run
        self.key = key
        self._part = run.output.with_name(f"{name}.part")
        self._errors_part = run.output.with_name(f"{run.errors.name}.part")
        self._checkpoint = run.output.with_name(f"{name}.part.json")

    def begin(self) -> Checkpoint:
        """Where to go on.

        Raises:
            InputError: The output exists, or the part belongs to another run.
        """
        if self.run.restart:
            self._check_output()
            self._discard(Checkpoint(run=self.key))
        state = read_checkpoint(self._checkpoint)
        if state is None and (self._part.exists() or self._errors_part.exists()):
            left = self._part if self._part.exists() else self._errors_part
            raise InputError(f"{left} is left of a run that cannot go on: --restart throws it away")
        if state is not None and state.run != self.key:
            raise InputError(
                f"{self._part} belongs to a run with {state.run.difference(self.key)}: "
                "--restart throws it away, or choose another output"
            )
        if state is None or not state.finished:
            self._check_output()
        return state or Checkpoint(run=self.key)

    def answers(self, state: Checkpoint) -> AnswersPart:
        """The answers so far."""
        layout = self.run.layout
        if self.run.output_format == "parquet":
            return ParquetAnswers(self._part, layout, state.written)
        file = GrowingFile(self._part, state.written)
        if self.run.output_format == "csv":
            return TextAnswers(file, layout.csv_header(), layout.csv_line, begun=state.rows > 0)
        return TextAnswers(file, b"", layout.json_line, begun=state.rows > 0)

    def errors(self, state: Checkpoint) -> GrowingFile:
        """The list of broken rows so far."""
        return GrowingFile(self._errors_part, state.errors_bytes)

    def save(self, state: Checkpoint) -> None:
        """Make the state the one to go on from."""
        with writing(self._checkpoint):
            write_checkpoint(self._checkpoint, state)

    def finish(self, state: Checkpoint) -> None:
        """Give the results their names; after a crash in between, the next run does the rest.

        Raises:
            InputError: Meanwhile somebody else made the output.
            DataError: There was no row.
        """
        if not state.rows:
            self._discard(state)
            raise DataError(f"{self.run.input} has no rows: add some")
        if not state.finished:
            self._check_output()
            self.save(state.model_copy(update={"finished": True}))
        if state.broken:
            self.errors(state).publish(self.run.errors)
        else:
            with writing(self.run.errors):
                self.run.errors.unlink(missing_ok=True)  # of the output that is replaced
        self.answers(state).publish(self.run.output)
        self._discard(state)

    def _discard(self, state: Checkpoint) -> None:
        """Remove everything but results; the checkpoint first, since without it nobody takes the rest for a run."""
        with writing(self._checkpoint):
            self._checkpoint.unlink(missing_ok=True)
            sync_directory(self._checkpoint.parent)
        self.errors(state).discard()
        self.answers(state).discard()

    def _check_output(self) -> None:
        for path in (self.run.output, self.run.errors):
            if path.exists() and not self.run.overwrite:
                raise InputError(f"{path} exists: choose another output, or --overwrite replaces it when all is done")


def _answer(open_ask: OpenAsk, files: _Files, state: Checkpoint, on_progress: OnProgress) -> Checkpoint:
    """Answer what is left; every chunk is on the disk before the next one is read."""
    run = files.run
    columns = tuple(dict.fromkeys((*run.fields, *run.keep)))
    with open_rows(run.input, columns) as reader, open_ask(state) as ask:
        answers, errors = files.answers(state), files.errors(state)
        rows = islice(reader.rows(), state.rows, None)
        on_progress(FileProgress(state.rows, reader.share))
        for chunk in chunks(rows, run.fields, run.keep, state.run.chunk_rows):
            said = ask(chunk) if chunk.rows else ()
            if not state.rows:
                files.save(state)  # before there is a part, so that no part is without it
            answered = [Answered(row, answers) for row, answers in zip(chunk.rows, said, strict=True)]
            state = Checkpoint(
                run=state.run,
                rows=state.rows + chunk.size,
                broken=state.broken + len(chunk.broken),
                cut=state.cut + sum(row.is_cut for row in answered),
                written=answers.append(answered),
                errors_bytes=errors.append(b"".join(map(broken_line, chunk.broken)))
                if chunk.broken
                else state.errors_bytes,
            )
            files.save(state)
            on_progress(FileProgress(state.rows, reader.share))
    return state


def _key(run: FileRun, precision: Precision, most_rows: int) -> RunKey:
    try:
        digest = sha256_file(run.input)
    except OSError as error:
        raise DataError(f"{run.input} cannot be read: {error.strerror}") from error
    return RunKey(
        input_format=format_of(run.input) or "csv",
        input_sha256=digest,
        modules=tuple(ModuleKey(alias=module.alias, sha256=module.sha256) for module in run.modules),
        keep=run.keep,
        output_format=run.output_format,
        chunk_rows=most_rows,
        precision=precision,
    )


@contextmanager
def _alone(output: Path) -> Iterator[None]:
    """Keep a second run away from the same output."""
    path = output.with_name(f"{output.name}.part.lock")
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise InputError(f"another run writes {output}: wait for it or choose another output") from error
    try:
        yield
    finally:
        with suppress(OSError):  # Windows keeps a file that is open
            path.unlink()  # while it is held: who opened it before finds it gone and makes a new one
        lock.release()


def _silent(_progress: FileProgress) -> None:
    pass
