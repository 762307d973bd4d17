"""Runs one cell in a process of its own, so that its peak of memory is its own and its death hurts nobody else.

Parent and child talk through two JSON files in a scratch directory.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from petapter.benchmark.cells import Cell
from petapter.benchmark.machine import peak_gpu_bytes, peak_memory_bytes, torch_threads
from petapter.benchmark.results import Failed, Finished, Line, parse_line
from petapter.benchmark.running import BackbonePlace, Benchmark, ResidentRunner, load_benchmark
from petapter_schemas.errors import PetapterError

_SHOWN = 300


def run_isolated(benchmark: Benchmark, cell: Cell) -> Line:
    """Run one cell in a fresh process; however that ends, it is told as a result."""
    with tempfile.TemporaryDirectory() as scratch:
        request, result = Path(scratch) / "request.json", Path(scratch) / "result.json"
        request.write_text(json.dumps(_request(benchmark, cell)), encoding="utf-8")
        command = [sys.executable, "-m", "petapter.benchmark", str(request), str(result)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 (this program itself)
        if done.returncode == 0 and result.is_file():
            return parse_line(json.loads(result.read_bytes()))
    last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1][:_SHOWN]
    return Failed(key=cell.key, error=f"the process of this cell ended with code {done.returncode}: {last}")


def answer_request(request_file: Path, result_file: Path) -> None:
    """Run the cell that a request names and write how it ended."""
    request = json.loads(request_file.read_bytes())
    places = {
        name: BackbonePlace(Path(place["directory"]), place["repo"], place["revision"])
        for name, place in request["places"].items()
    }
    try:
        data = None if request["data"] is None else Path(request["data"])
        benchmark = load_benchmark(Path(request["grid_file"]), data, places)
        line = _run(benchmark, str(request["key"]))
    except PetapterError as error:
        line = Failed(key=request["key"], error=str(error))
    result_file.write_text(line.model_dump_json(), encoding="utf-8")


def _request(benchmark: Benchmark, cell: Cell) -> dict[str, object]:
    return {
        "grid_file": str(benchmark.grid_file),
        "data": None if benchmark.data is None else str(benchmark.data),
        "places": {
            name: {"directory": str(place.directory), "repo": place.repo, "revision": place.revision}
            for name, place in benchmark.places.items()
        },
        "key": cell.key,
    }


def _run(benchmark: Benchmark, key: str) -> Line:
    cell = next((cell for cell in benchmark.cells if cell.key == key), None)
    if cell is None:
        return Failed(key=key, error="the grid or its data changed while it ran: run it again")
    runner = ResidentRunner()
    with torch_threads(benchmark.grid.threads):
        line = runner(benchmark, cell)
    if isinstance(line, Failed):
        return line
    peaks = {
        "peak_memory_bytes": peak_memory_bytes(),
        "peak_gpu_bytes": peak_gpu_bytes(runner.backbone(benchmark, cell.backbone).device),
    }
    return Finished(key=key, result=line.result.model_copy(update=peaks))
