"""What all tests share: one thread per library, no telemetry, and a tiny module that needs no torch."""

import gc
import os
import signal
from collections.abc import Iterator

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ.pop("HF_HUB_OFFLINE", None)

import pytest

from tests.schemas.tiny_module import TinyModule, build_tiny_module

# a shell that starts pytest in the background makes it ignore SIGINT, and with it the programs that tests interrupt
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """What is imported and collected stays to the end: the garbage collector looks through it no more.

    It took a fifth of the processor's time of the registry's tests. What a test leaves behind it looks for less often.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.set_threshold(5_000, 10, 10)
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first, so that no process is left alone with minutes of work while the others idle."""
    with_slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in with_slow)


@pytest.fixture
def tiny_module() -> TinyModule:
    """A function that writes a valid module: `tiny_module(directory, name=…, version=…, labels=…) -> directory`."""
    return build_tiny_module
