import random
from collections.abc import Callable
from pathlib import Path

import pytest

SENTENCES = (
    "the match was good and the team was great",
    "the bank is not the market",
    "business news in the world of money",
    "it is a very bad price",
    "that game was a goal to play",
)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy language: 150 documents of one to three of five sentences, in an order that is always the same."""
    draw = random.Random(7)  # noqa: S311 (of a test)
    documents = [". ".join(draw.choices(SENTENCES, k=draw.randint(1, 3))) for _ in range(150)]
    path = tmp_path_factory.mktemp("texts") / "corpus.txt"
    path.write_text("\n".join(documents) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def repeated() -> list[str]:
    """Documents that each repeat one of eight words, so that whoever reads the context knows the hidden word."""
    words = ("great", "news", "sports", "world", "money", "match", "goal", "team")
    return [" ".join([words[(number * 7 + number // 8) % 8]] * 22) for number in range(160)]


@pytest.fixture
def written(tmp_path: Path) -> Callable[[str, bytes], Path]:
    def write(name: str, content: bytes) -> Path:
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    return write
