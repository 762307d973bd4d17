"""A run over a file in a process of its own, which is killed in the middle."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from petapter import Backbone, Engine, ModuleInfo, TrainedModule, save_module
from petapter.runtime.files import FileModule, FileRun, predict_file
from tests.petapter.conftest import SENTIMENT

CHILD = """
import sys
from pathlib import Path
from petapter import Backbone, Engine
from petapter.runtime.files import FileModule, FileRun, predict_file
from petapter_schemas.manifest import read_manifest
folder, backbone = Path(sys.argv[1]), Path(sys.argv[2])
with Engine(Backbone.load(backbone, device="cpu")) as engine:
    engine.load(folder / "mood", "mood")
    module = FileModule("mood", read_manifest(folder / "mood").task, "a" * 64)
    run = FileRun(folder / "texts.csv", folder / "answers.csv", (module,))
    predict_file(engine, run, most_rows=6, on_progress=lambda progress: print(progress.rows, flush=True))
"""


def test_killed_process_is_gone_on_with_to_the_same_bytes(
    directories: dict[str, Path], bert: Backbone, sentiment: TrainedModule, tmp_path: Path
) -> None:
    save_module(sentiment, tmp_path / "mood", ModuleInfo("mood"))
    texts = "".join(f'{number},"a fine ""game"", \n{number} good"\n' for number in range(240))
    (tmp_path / "texts.csv").write_text(f"id,text\n{texts}")
    module = FileModule("mood", SENTIMENT, "a" * 64)
    whole = FileRun(tmp_path / "texts.csv", tmp_path / "whole.csv", (module,))
    run = replace(whole, output=tmp_path / "answers.csv")
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, tmp_path, directories["bert"]], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    with child, child.stdout as told:
        while int(next(told)) < 60:
            pass
        os.kill(child.pid, signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL
    assert not run.output.exists()
    with Engine(bert) as engine:
        engine.load(tmp_path / "mood", "mood")
        starts: list[int] = []
        predict_file(engine, run, most_rows=6, on_progress=lambda progress: starts.append(progress.rows))
        predict_file(engine, whole, most_rows=6)
    assert starts[0] >= 60
    assert run.output.read_bytes() == whole.output.read_bytes()
