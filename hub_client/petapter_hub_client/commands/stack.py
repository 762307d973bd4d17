# ruff: noqa: PLC0415 (each command imports what it needs, so that --help stays fast)
"""`petapter stack`: lock the modules that are served together, bring them here, and ask them."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from petapter_hub_client.commands.options import (
    CheckOption,
    DeviceOption,
    EngineOption,
    InputOption,
    JsonOption,
    KeepColumnsOption,
    OutputOption,
    OverwriteOption,
    PrecisionOption,
    RayAddressOption,
    RayWorkersOption,
    RestartOption,
    prepare_torch,
)
from petapter_hub_client.output import byte_progress, hush_huggingface, note, say, say_json, say_table
from petapter_schemas.errors import InputError, StackDriftError

if TYPE_CHECKING:
    from petapter_hub_client.commands.answering import Found
    from petapter_hub_client.stacks.bringing import BroughtModule, BroughtStack
    from petapter_hub_client.stacks.reading import Stack
    from petapter_schemas.stack import LockedModule, StackLock

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Lock the modules that are served together, bring them here, and ask them.",
)

StackArgument = Annotated[Path, typer.Argument(metavar="STACK.yaml", help="Which modules; its lock lies beside it.")]

_DEFAULT = Path("stack.yaml")
_SUFFIXES = (".yaml", ".yml")
_COMMIT_CHARACTERS = 12


@app.command()
def lock(
    stack: StackArgument = _DEFAULT,
    *,
    upgrade: Annotated[bool, typer.Option("--upgrade", help="Ask anew for every module, also locked ones.")] = False,
    upgrade_module: Annotated[
        list[str] | None, typer.Option("--upgrade-module", metavar="ALIAS", help="Likewise for one; may be repeated.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; end with 1 if the lock is out of date.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Write which commit of each module, and which backbone, the stack means; what is locked stays so."""
    from petapter_hub_client.stacks.lock_files import read_lock, write_lock
    from petapter_hub_client.stacks.locking import Upgrade, make_lock
    from petapter_hub_client.stacks.reading import read_stack

    hush_huggingface()
    read = read_stack(stack)
    old = read_lock(read)
    if check:
        if upgrade or upgrade_module:
            raise InputError("--check writes nothing, so it does not go with --upgrade: give one")
        _check(read, old, as_json=as_json)
        return
    with byte_progress("locking:") as on_progress:
        new = make_lock(read, old, Upgrade(tuple(upgrade_module or ()), every=upgrade), on_progress=on_progress).lock
    _say_lock(read, old, new, was_written=write_lock(read, new), as_json=as_json)


@app.command()
def sync(
    stack: StackArgument = _DEFAULT,
    *,
    frozen: Annotated[bool, typer.Option("--frozen", help="Refuse whatever differs from the lock.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Fetch exactly what is locked; first lock what is new in the stack, unless --frozen."""
    from petapter_hub_client.stacks import syncing
    from petapter_hub_client.stacks.reading import read_stack

    hush_huggingface()
    read = read_stack(stack)
    with byte_progress("syncing:") as on_progress:
        synced = (syncing.sync_frozen if frozen else syncing.sync)(read, on_progress=on_progress)
    if synced.relocked is not None:
        note(f"{synced.relocked}: wrote {read.lock_path}")
    if as_json:
        say_json({"lock": str(read.lock_path), "relocked": synced.relocked, **_synced_json(synced.brought)})
        return
    say_table(("alias", "module", "commit", "patterns", "here"), list(map(_synced_row, synced.brought.modules)))
    backbone = synced.brought.backbone
    say(f"backbone {backbone.repo} in {backbone.directory}: as locked, every byte checked")


@app.command()
def predict(  # noqa: PLR0913 (a command's options)
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="STACK.yaml|TEXT", help="Texts; a first one that ends in .yaml is the stack."),
    ] = None,
    *,
    input_: InputOption = None,
    output: OutputOption = None,
    keep_columns: KeepColumnsOption = "",
    overwrite: OverwriteOption = False,
    restart: RestartOption = False,
    device: DeviceOption = None,
    check: CheckOption = False,
    precision: PrecisionOption = "float32",
    engine: EngineOption = "local",
    ray_address: RayAddressOption = None,
    ray_workers: RayWorkersOption = None,
    as_json: JsonOption = False,
) -> None:
    """Classify texts with every module of a stack, exactly as locked."""
    prepare_torch("stack predict")
    hush_huggingface()
    from petapter_hub_client.commands.answering import EngineChoice, Question, answer

    stack, texts = _split(words or [])
    question = Question(
        texts,
        input_,
        output,
        keep_columns,
        overwrite=overwrite,
        restart=restart,
        engine=EngineChoice(engine, ray_address, ray_workers),
        check=check,
        precision=precision,
        as_json=as_json,
        device=device,
    )
    answer(question, lambda: _find(stack))


def _split(words: Sequence[str]) -> tuple[Path, Sequence[str]]:
    """The stack and the texts: a first word that ends in .yaml is a file, never a text."""
    return (Path(words[0]), words[1:]) if words and words[0].endswith(_SUFFIXES) else (_DEFAULT, words)


def _find(path: Path) -> "Found":
    """The modules of a stack, brought here as locked."""
    from petapter_hub_client.commands.answering import Found
    from petapter_hub_client.local_runs import LocalModule
    from petapter_hub_client.stacks.opening import open_stack

    opened = open_stack(path)
    modules = [
        LocalModule(one.alias, one.directory, one.manifest, one.digest, one.patterns, one.members)
        for one in opened.modules
    ]
    return Found(modules, lambda: opened.backbone)


def _check(stack: "Stack", lock: "StackLock | None", *, as_json: bool) -> None:
    from petapter_hub_client.stacks.lock_files import staleness

    reason = staleness(stack, lock)
    if as_json:
        say_json({"lock": str(stack.lock_path), "is_current": reason is None, "reason": reason})
    if reason is not None:
        raise StackDriftError(f"{reason}: run 'petapter stack lock {stack.path}'")
    if not as_json:
        say(f"{stack.lock_path} is up to date")


def _say_lock(stack: "Stack", old: "StackLock | None", new: "StackLock", *, was_written: bool, as_json: bool) -> None:
    known = {module.name: module for module in (old.modules if old else ())}
    changes = {module.name: _change(known.get(module.name), module) for module in new.modules}
    removed = [name for name in known if name not in changes]
    if as_json:
        lock = new.model_dump(mode="json")
        say_json({"lock": str(stack.lock_path), "was_written": was_written, "changes": changes, **lock})
        return
    rows = [(*_locked_cells(module), changes[module.name]) for module in new.modules]
    say_table(("alias", "module", "commit", "patterns", "lock"), rows)
    for name in removed:
        say(f"{name} is no longer in the stack")
    fitting = "the module fits" if len(new.modules) == 1 else f"all {len(new.modules)} modules fit"
    say(f"backbone {new.backbone.repo}, which {fitting}")
    say(f"wrote {stack.lock_path}" if was_written else f"{stack.lock_path} is up to date")


def _change(old: "LockedModule | None", new: "LockedModule") -> str:
    if old is None:
        return "new"
    return "kept" if old == new else "changed"


def _synced_json(brought: "BroughtStack") -> dict[str, object]:
    backbone = brought.lock.backbone.model_dump(mode="json")
    modules = [
        {**module.locked.model_dump(mode="json"), "directory": str(module.directory), "was_here": module.was_here}
        for module in brought.modules
    ]
    return {"backbone": {**backbone, "directory": str(brought.backbone.directory)}, "modules": modules}


def _synced_row(module: "BroughtModule") -> tuple[object, ...]:
    here = "directory" if module.locked.commit is None else "already here" if module.was_here else "fetched"
    return (*_locked_cells(module.locked), here)


def _locked_cells(module: "LockedModule") -> tuple[object, ...]:
    chosen = "all" if module.patterns is None else ", ".join(map(str, module.patterns))
    commit = "" if module.commit is None else module.commit[:_COMMIT_CHARACTERS]
    return (module.name, module.reference or module.asked, commit, chosen)
