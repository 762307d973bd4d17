"""Runs SetFit on exported samples, one process per run, and appends what it measured as lines that the report reads.

SetFit: Tunstall et al. 2022, arXiv 2209.11055. Everything is left at the defaults of the package (one epoch over
oversampled pairs, batches of 16, learning rate 2e-5, cosine similarity loss, logistic regression as head); what is
chosen here is the encoder, the seeds and that nothing is saved on the way.

    python run_setfit.py SAMPLES --encoder DIRECTORY --out results/setfit.jsonl
"""

import argparse
import base64
import os
import platform
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
sys.path.insert(0, str(Path(__file__).parent))

from rows import PeerError, Rows, Run, Wanted, append_line, finished_keys, plan_runs, read_rows

LIBRARIES = ("setfit", "sentence-transformers", "transformers", "torch", "scikit-learn", "datasets", "numpy")


@dataclass(frozen=True)
class Settings:
    """What all runs share.

    Attributes:
        encoder: Directory of the encoder.
        method: Name of the method in the report.
        backbone: Name of the encoder in the report.
        max_seq_length: Tokens of a text that are read.
        normalize: Whether embeddings are scaled to length 1, before the head too.
        iterations: Pairs of each kind per row, SetFit's R; None makes all pairs, the package's default.
        threads: Of torch.
        device: A torch device.
        out: File to append to.
    """

    encoder: Path
    method: str
    backbone: str
    max_seq_length: int
    normalize: bool
    iterations: int | None
    threads: int
    device: str
    out: Path


@dataclass(frozen=True)
class Outcome:
    """What one run gave."""

    predicted: list[str]
    train_seconds: float
    train_cpu_seconds: float
    predict_seconds: float
    module_bytes: int
    steps: int
    pairs: int


def main() -> int:
    """Plan, skip what is finished, run the rest; 1 when anything failed."""
    try:
        options = _parse()
        settings = _settings(options)
        wanted = Wanted(options.datasets, options.n, options.samples, options.seeds)
        runs = plan_runs(options.directory, wanted)
        done = finished_keys(settings.out)
    except PeerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    waiting = [run for run in runs if run.key(settings.method, settings.backbone) not in done]
    print(f"{len(runs) - len(waiting)} runs are finished, {len(waiting)} to do", flush=True)
    if waiting and not options.list:
        import setfit  # noqa: F401 (once here, so that each run's process begins with it loaded)
    failed = 0
    for number, run in enumerate(waiting, start=1):
        words = f"[{number}/{len(waiting)}] {run.dataset} n={run.n} sample {run.sample} seed {run.seed}"
        print(words, flush=True)
        failed += 0 if options.list else _in_own_process(settings, run)
    return 1 if failed else 0


def _in_own_process(settings: Settings, run: Run) -> int:
    """Run in a fork, whose peak of memory starts at what is loaded now; 1 if it failed."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            append_line(settings.out, measure(settings, run))
            status = 0
        except (PeerError, OSError, RuntimeError, ValueError) as error:
            print(
                f"error: {run.dataset} n={run.n} sample {run.sample}: {' '.join(str(error).split())}", file=sys.stderr
            )
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        print(f"error: the process of this run was ended by signal {os.WTERMSIG(status)}", file=sys.stderr)
    return int(status != 0)


def measure(settings: Settings, run: Run) -> dict[str, object]:
    """Train, predict and put the figures into one result.

    Raises:
        PeerError: The rows cannot be used.
    """
    import numpy as np
    from sklearn.metrics import f1_score

    train, test = read_rows(run.train), read_rows(run.test)
    if unknown := sorted(set(test.labels) - set(train.labels)):
        raise PeerError(f"{run.train} has no row of label {unknown[0]!r}: export a sample that has all labels")
    outcome = train_and_predict(settings, run.seed, train, test.texts)
    correct = np.asarray([a == b for a, b in zip(outcome.predicted, test.labels, strict=True)], dtype=np.bool_)
    macro_f1 = f1_score(
        test.labels, outcome.predicted, labels=sorted(set(train.labels)), average="macro", zero_division=0
    )
    digests = {"sample_digest": run.sample_digest, "test_digest": run.test_digest}
    result: dict[str, object] = {
        "dataset": run.dataset,
        "backbone": settings.backbone,
        "method": settings.method,
        "n": run.n,
        "sample": run.sample,
        "seed": run.seed,
        "test_rows": len(test.labels),
        "accuracy": round(float(correct.mean()), 6),
        "macro_f1": round(float(macro_f1), 6),
        "correct": base64.b64encode(np.packbits(correct).tobytes()).decode(),
        "train_seconds": round(outcome.train_seconds, 3),
        "predict_seconds": round(outcome.predict_seconds, 3),
        "module_bytes": outcome.module_bytes,
        "peak_memory_bytes": _peak_memory_bytes(),
        "steps": outcome.steps,
        "details": {
            "pairs": outcome.pairs,
            "train_cpu_seconds": round(outcome.train_cpu_seconds, 3),
            "max_seq_length": settings.max_seq_length,
            "normalize": settings.normalize,
            "device": settings.device,
        },
        "versions": {"python": platform.python_version()} | {name: version(name) for name in LIBRARIES},
        "hardware": f"{_cpu_name()}, {os.cpu_count()} cores",
        "threads": settings.threads,
    }
    return result | {name: digest for name, digest in digests.items() if digest is not None}


def train_and_predict(settings: Settings, seed: int, train: Rows, texts: list[str]) -> Outcome:
    """SetFit from the encoder's own weights; loading them is not timed."""
    import torch
    from datasets import Dataset, disable_progress_bars
    from setfit import Trainer, TrainingArguments
    from transformers import PrinterCallback, set_seed
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    disable_progress_bars()
    torch.set_num_threads(settings.threads)
    set_seed(seed)
    model = _build(settings)
    with tempfile.TemporaryDirectory() as scratch:
        chosen = TrainingArguments(
            output_dir=scratch,
            seed=seed,
            num_iterations=settings.iterations,
            save_strategy="no",
            report_to="none",
            show_progress_bar=False,
        )
        rows = Dataset.from_dict({"text": train.texts, "label": train.labels})
        started, cpu_started = time.perf_counter(), time.process_time()
        trainer = Trainer(model=model, args=chosen, train_dataset=rows)
        trainer.st_trainer.args.disable_tqdm = True
        trainer.pop_callback(PrinterCallback)
        trainer.train()
        train_seconds, train_cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
    started = time.perf_counter()
    predicted = [str(label) for label in model.predict(texts, show_progress_bar=False)]
    predict_seconds = time.perf_counter() - started
    head = model.model_head
    kept = sum(value.numel() * value.element_size() for value in model.model_body.parameters())
    state = trainer.st_trainer.state
    return Outcome(
        predicted,
        train_seconds,
        train_cpu_seconds,
        predict_seconds,
        kept + head.coef_.nbytes + head.intercept_.nbytes,
        int(state.global_step),
        len(trainer.st_trainer.train_dataset),
    )


def _build(settings: Settings) -> object:
    """The encoder with mean pooling, as the published all-MiniLM-L6-v2 is put together, and an untrained head."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
    from setfit import SetFitModel
    from sklearn.linear_model import LogisticRegression

    safely = {"local_files_only": True, "trust_remote_code": False}
    body = Transformer(
        str(settings.encoder),
        max_seq_length=settings.max_seq_length,
        model_kwargs=safely | {"use_safetensors": True},
        processor_kwargs=safely,
        config_kwargs=safely,
    )
    modules = [body, Pooling(body.get_embedding_dimension(), "mean")]
    modules += [Normalize()] if settings.normalize else []
    return SetFitModel(SentenceTransformer(modules=modules, device=settings.device), LogisticRegression())


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Run SetFit on exported samples; runs in --out are skipped.")
    parser.add_argument(
        "directory", type=Path, help="exported samples: <dataset>/n<k>/sample<i>.csv, <dataset>/test.csv"
    )
    parser.add_argument(
        "--encoder", type=Path, required=True, help="model directory: config.json, safetensors, tokenizer"
    )
    parser.add_argument("--out", type=Path, required=True, help="JSON Lines file to append to")
    parser.add_argument("--datasets", nargs="+", default=[], help="default: all")
    parser.add_argument("--n", nargs="+", type=int, default=[], help="sizes, default: all")
    parser.add_argument("--samples", nargs="+", type=int, default=[], help="indices, default: all")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="default: 0")
    parser.add_argument("--threads", type=int, default=1, help="of torch, default: 1")
    parser.add_argument("--device", default="cpu", help="a torch device, default: cpu")
    parser.add_argument("--max-seq-length", type=int, default=256, help="tokens of a text that are read, default: 256")
    parser.add_argument(
        "--normalize", action=argparse.BooleanOptionalAction, default=True, help="embeddings of length 1"
    )
    parser.add_argument("--iterations", type=int, help="SetFit's R, 20 in its paper; default: all pairs")
    parser.add_argument("--method", default="setfit", help="name in the report, default: setfit")
    parser.add_argument("--backbone", help="name of the encoder in the report, default: its directory's")
    parser.add_argument("--list", action="store_true", help="only say which runs are to do")
    return parser.parse_args()


def _settings(options: argparse.Namespace) -> Settings:
    encoder: Path = options.encoder
    if not (encoder / "config.json").is_file() or not list(encoder.glob("*.safetensors")):
        raise PeerError(f"{encoder} is no model directory: it needs config.json and *.safetensors")
    if min(options.threads, options.max_seq_length, options.iterations or 1) < 1:
        raise PeerError("--threads, --max-seq-length and --iterations must be 1 or more")
    return Settings(
        encoder=encoder,
        method=options.method,
        backbone=options.backbone or encoder.resolve().name,
        max_seq_length=options.max_seq_length,
        normalize=options.normalize,
        iterations=options.iterations,
        threads=options.threads,
        device=options.device,
        out=options.out,
    )


def _peak_memory_bytes() -> int | None:
    """The most memory this process ever held, from Linux; `ru_maxrss` would begin with the parent's."""
    status = Path("/proc/self/status")
    lines = status.read_text(encoding="ascii", errors="replace").splitlines() if status.is_file() else []
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), None)


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8", errors="replace").splitlines() if info.is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    sys.exit(main())
