"""What all tests share: one thread per library, no telemetry, and a tiny module that needs no torch."""

import os
import signal

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ.pop("HF_HUB_OFFLINE", None)

import pytest

from tests.schemas.tiny_module import TinyModule, build_tiny_module

# a shell that starts pytest in the background makes it ignore SIGINT, and with it the programs that tests interrupt
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def tiny_module() -> TinyModule:
    """A function that writes a valid module: `tiny_module(directory, name=…, version=…, labels=…) -> directory`."""
    return build_tiny_module
