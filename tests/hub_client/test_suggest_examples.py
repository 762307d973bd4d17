"""`suggest-examples` on a tiny backbone: what it writes, what it says it looked at, and what it refuses."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from petapter_hub_client.exit_codes import ExitCode
from petapter_schemas.manifest import Manifest
from tests.hub_client.conftest import Petapter
from tests.hub_client.tiny_reviews import ROWS, save_backbone, write_rows

WORDS = ("love", "hate", "film", "food", "great", "awful")
TEXTS = [f"i {a} this {b} {c}" for a in WORDS[:2] for b in WORDS[2:4] for c in WORDS]
ASKED = ("--pattern", "{text} it was {mask} .", "--labels", "good,bad")


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_backbone(tmp_path_factory.mktemp("backbone"))


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    path = tmp_path / "texts.csv"
    path.write_text("id,text\n" + "".join(f"{number},{text}\n" for number, text in enumerate(TEXTS, 100)))
    return path


def test_texts_are_named_with_their_rows_and_guesses(petapter: Petapter, texts: Path, backbone: Path) -> None:
    ran = petapter("suggest-examples", texts, *ASKED, "--count", 4, "--backbone", backbone, "--json")
    found: Any = ran.json
    assert (found["readable"], found["compared"], found["broken"], found["output"]) == (24, 24, 0, None)
    assert len(found["texts"]) == 4
    for each in found["texts"]:
        assert each["fields"] == {"text": TEXTS[each["row"] - 1]}
        assert each["guess"] in {"good", "bad"}
    assert petapter("suggest-examples", texts, *ASKED, "--count", 4, "--backbone", backbone, "--json").out == ran.out


def test_without_labels_texts_are_named_without_guesses(petapter: Petapter, texts: Path, backbone: Path) -> None:
    ran = petapter("suggest-examples", texts, "--count", 3, "--backbone", backbone)
    assert ran.code == 0
    assert "guess" not in ran.out
    assert "compared: all 24 texts" in ran.err
    assert sum(text in ran.out for text in TEXTS) == 3


def test_patterns_are_the_grammars_where_none_is_given(petapter: Petapter, texts: Path, backbone: Path) -> None:
    asked = ("suggest-examples", texts, "--labels", "good,bad", "-n", 3, "--backbone", backbone)
    ran = petapter(*asked)
    assert ran.code == 0
    assert "guess" in ran.out
    found: Any = petapter(*asked, "--json").json
    assert len(found["texts"]) == 3
    assert len(found["patterns"]) > 1
    assert all(f"* {each['template']}" in ran.out for each in found["patterns"])


def test_of_many_patterns_the_best_four_are_asked(petapter: Petapter, texts: Path, backbone: Path) -> None:
    words = ("it was", "this", "i love", "great", "film", "food")
    own = [word for each in words for word in ("--pattern", f"{{text}} {each} {{mask}} .")]
    ran = petapter("suggest-examples", texts, "--labels", "good,bad", *own, "--backbone", backbone, "--json")
    found: Any = ran.json
    assert [each["is_asked"] for each in found["patterns"]] == [True] * 4 + [False] * 2


def test_given_patterns_are_ranked_alone_and_a_language_adds_the_grammars(
    petapter: Petapter, texts: Path, backbone: Path
) -> None:
    own = ("--pattern", "{text} it was {mask} .", "--pattern", "{mask} : {text}")
    asked = ("suggest-examples", texts, "--labels", "good,bad", *own, "-n", 3, "--backbone", backbone, "--json")
    found: Any = petapter(*asked).json
    assert {each["template"] for each in found["patterns"]} == set(own[1::2])
    assert all(0 <= each["agreement"] <= 1 and each["information"] >= 0 for each in found["patterns"])
    more: Any = petapter(*asked, "--language", "en").json
    assert {each["template"] for each in more["patterns"]} > set(own[1::2])  # whatever the tiny tokenizer knows of it


def test_module_from_the_label_words_alone_answers(
    petapter: Petapter, texts: Path, backbone: Path, tmp_path: Path
) -> None:
    out = tmp_path / "guesses"
    own = ("--pattern", "{text} it was {mask} .", "--pattern", "{mask} : {text}", "--labels", "good,bad")
    ran = petapter("suggest-examples", texts, *own, "-n", 2, "--backbone", backbone, "--zero-label", out)
    assert ran.code == 0, ran.err
    assert "a module from the label words alone" in ran.out
    manifest = Manifest.model_validate_json((out / "petapter.json").read_bytes())
    assert (manifest.training.preset, manifest.training.examples_per_class) == ("zero-label", (0, 0))
    assert len(manifest.task.patterns) == 2
    answer = petapter("predict", "--module", out, "i love this film", "--backbone", backbone, "--json")
    assert answer.code == 0, answer.err
    again = petapter("suggest-examples", texts, *own, "-n", 2, "--backbone", backbone, "--zero-label", out)
    assert again.code == ExitCode.REFUSED
    assert "exists and is not empty" in again.error


def test_quiet_names_the_rows_alone(petapter: Petapter, texts: Path, backbone: Path) -> None:
    ran = petapter("suggest-examples", texts, "--count", 3, "--backbone", backbone, "-q")
    assert len({int(line) for line in ran.out.split()}) == 3
    assert ran.err == ""


def test_of_many_texts_as_many_as_asked_are_drawn_and_that_is_said(
    petapter: Petapter, texts: Path, backbone: Path
) -> None:
    ran = petapter("suggest-examples", texts, "--count", 2, "--draw", 10, "--backbone", backbone)
    assert "compared: 10 drawn at random of 24 texts" in ran.err
    other = petapter("suggest-examples", texts, "--count", 2, "--draw", 10, "--seed", 8, "--backbone", backbone)
    assert other.out != ran.out


def test_what_is_written_can_be_filled_in_and_trained_on(
    petapter: Petapter, texts: Path, backbone: Path, tmp_path: Path
) -> None:
    out = tmp_path / "next.csv"
    ran = petapter("suggest-examples", texts, *ASKED, "--count", 6, "--backbone", backbone, "--output", out)
    assert ran.out == f"{out}: 6 texts; fill in the column label\n"
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert list(rows[0]) == ["text", "label", "row", "guess", "stands_for"]
    assert [row["label"] for row in rows] == [""] * 6
    empty = petapter("train", out, "--out", tmp_path / "m", "--label", "good", "--label", "bad", *ASKED[:2],
                     "--backbone", backbone)  # fmt: skip
    assert "column 'label' is empty" in empty.error
    for number, row in enumerate(rows):
        row["label"] = ("good", "bad")[number % 2]
    with out.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    trained = petapter("train", out, "--out", tmp_path / "m", "--label", "good", "--label", "bad", *ASKED[:2],
                       "--backbone", backbone)  # fmt: skip
    assert trained.code == 0
    again = petapter("suggest-examples", texts, *ASKED, "--labelled", out, "--backbone", backbone, "--json")
    found: Any = again.json
    assert not {each["fields"]["text"] for each in found["texts"]} & {row["text"] for row in rows}
    assert found["repeated"] == 6


def test_json_lines_are_read_and_written(petapter: Petapter, backbone: Path, tmp_path: Path) -> None:
    texts, out = tmp_path / "texts.jsonl", tmp_path / "next.jsonl"
    texts.write_text("".join(json.dumps({"text": f'{text} "é"'}, ensure_ascii=False) + "\n" for text in TEXTS))
    ran = petapter("suggest-examples", texts, "--count", 2, "--backbone", backbone, "-o", out, "--json")
    found: Any = ran.json
    written = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [row["text"] for row in written] == [each["fields"]["text"] for each in found["texts"]]
    assert found["output"] == str(out)


def test_a_task_file_may_name_other_fields(petapter: Petapter, backbone: Path, tmp_path: Path) -> None:
    task, texts, rows = tmp_path / "task.yaml", tmp_path / "texts.csv", tmp_path / "rows.csv"
    task.write_text('fields: [body]\nlabels: {good: good, bad: bad}\npatterns: ["{body} it was {mask} ."]\n')
    texts.write_text("body\n" + "\n".join(TEXTS) + "\n")
    rows.write_text(write_rows(tmp_path / "r.csv").read_text().replace("text,", "body,"))
    ran = petapter(
        "suggest-examples", texts, "--task", task, "--labelled", rows, "--count", 2, "--backbone", backbone, "--json"
    )
    found: Any = ran.json
    assert all(set(each["fields"]) == {"body"} for each in found["texts"])
    assert {each["guess"] for each in found["texts"]} <= {label for _, label in ROWS}


def test_rows_without_a_text_are_left_out_with_a_warning(petapter: Petapter, texts: Path, backbone: Path) -> None:
    with texts.open("a") as stream:
        stream.write("7,\n8\n")
    ran = petapter("suggest-examples", texts, "--count", 2, "--backbone", backbone)
    assert "warning: 2 rows hold no text that can be read, and were left out" in ran.err


def test_bad_input_is_one_line(petapter: Petapter, texts: Path, backbone: Path, tmp_path: Path) -> None:
    empty, task = tmp_path / "empty.csv", tmp_path / "task.yaml"
    empty.write_text("text\n")
    task.write_text('labels: {good: good, bad: bad}\npatterns: ["{text} it was {mask} ."]\n')
    for arguments, message in (
        ((empty,), "empty.csv holds no text"),
        ((tmp_path / "none.csv",), "none.csv cannot be read"),
        ((texts, "--count", 30, "--draw", 20), "--count 30 is more than --draw 20"),
        ((texts, "--pattern", "{text} {mask}"), "give --labels too"),
        ((texts, "--labels", "good"), "labels"),
        ((texts, "--zero-label", tmp_path / "m"), "give --labels, --label or --task too"),
        ((texts, *ASKED, "--zero-label", tmp_path / "No Name!"), "the name cannot be 'No Name!'"),
        ((texts, "--task", task, "--labels", "good,bad"), "give either --task"),
        ((texts, "--output", texts), "exists already"),
        ((texts, "--output", tmp_path / "next.txt"), "its name must end in .csv, .jsonl, .ndjson"),
        ((texts, *ASKED[:2], "--labels", "good,this film"), "2 tokens but the pattern has 1 mask"),
    ):
        ran = petapter("suggest-examples", *arguments, "--backbone", backbone)
        assert ran.code == ExitCode.REFUSED
        assert message in ran.error
