from pathlib import Path

import pytest

from petapter.task.reading import read_task, task_from_options
from petapter_schemas.errors import TaskError

PATTERNS = "patterns: ['{text} It was {mask}.']\n"


def task_file(folder: Path, content: str) -> Path:
    path = folder / "task.yaml"
    path.write_text(content, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["NO", "yes", "off", "1.0", "007", "null", "~", "2024-01-01", "0x1F", "1_000", "<<"])
def test_label_that_yaml_reads_as_another_type_stays_text(tmp_path: Path, name: str) -> None:
    task = read_task(task_file(tmp_path, f"labels:\n  {name}: {name}\n  other: fine\n{PATTERNS}"))
    assert (task.labels[0].name, task.labels[0].words) == (name, (name,))


def test_mapping_and_list_of_labels_mean_the_same(tmp_path: Path) -> None:
    mapping = read_task(task_file(tmp_path, f"labels: {{pos: great, neg: [awful, bad]}}\n{PATTERNS}"))
    entries = "labels:\n- {name: pos, words: great}\n- {name: neg, words: [awful, bad]}\n"
    assert mapping == read_task(task_file(tmp_path, entries + PATTERNS))


def test_label_may_carry_a_description(tmp_path: Path) -> None:
    task = read_task(
        task_file(tmp_path, f"labels: {{pos: {{words: great, description: praise}}, neg: bad}}\n{PATTERNS}")
    )
    assert task.labels[0].description == "praise"


def test_order_of_labels_is_that_of_the_file(tmp_path: Path) -> None:
    task = read_task(task_file(tmp_path, f"labels: {{zebra: z, apple: a, mango: m}}\n{PATTERNS}"))
    assert task.label_names == ("zebra", "apple", "mango")


def test_json_is_read_too(tmp_path: Path) -> None:
    task = read_task(task_file(tmp_path, '{"labels": {"pos": "great", "neg": "bad"}, "patterns": ["{mask}: {text}"]}'))
    assert task.patterns[0].template == "{mask}: {text}"


def test_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    path = tmp_path / "task.yaml"
    path.write_text(f"labels: {{pos: great, neg: bad}}\n{PATTERNS}", encoding="utf-8-sig")
    assert read_task(path).label_names == ("pos", "neg")


def test_pattern_may_name_several_fields_and_which_end_survives(tmp_path: Path) -> None:
    text = "fields: [a, b]\nlabels: {x: good, y: bad}\npatterns: [{template: '{a} {mask} {b}', keep: tail}]\n"
    task = read_task(task_file(tmp_path, text))
    assert (task.patterns[0].fields, task.patterns[0].keep) == (("a", "b"), "tail")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (f"labels: {{pos: great, pos: good, neg: bad}}\n{PATTERNS}", "'pos' occurs twice"),
        (f"labels:\n- {{name: pos, words: great}}\n- {{name: pos, words: good}}\n{PATTERNS}", "'pos' occurs twice"),
        (f"labels: {{pos: great, neg: bad}}\n{PATTERNS}{PATTERNS}", "'patterns' occurs twice"),
        (f"labels: {{pos: great}}\n{PATTERNS}", "labels"),
        (f"labels: {{}}\n{PATTERNS}", "labels"),
        ("labels: {pos: great, neg: bad}\npatterns: ['{text} fine']\n", "no {mask}"),
        ("labels: {pos: great, neg: bad}\npatterns: ['It was {mask}']\n", "no text field"),
        ("labels: {pos: great, neg: bad}\npatterns: ['{title} {mask}']\n", "'{title} {mask}' uses {title}"),
        ("labels: {pos: great, neg: bad}\npatterns: ['{text} {mask']\n", "is no slot"),
        ("labels: {pos: great, neg: bad}\npatterns: []\n", "patterns"),
        (f"labels: {{pos: great, neg: bad}}\n{PATTERNS}verbaliser: x\n", "verbaliser"),
        (f"labels: {{pos: [], neg: bad}}\n{PATTERNS}", "labels.0.words"),
        (f"labels: {{pos: [great, great], neg: bad}}\n{PATTERNS}", "'great' twice"),
        (f"labels: {{pos: ' ', neg: bad}}\n{PATTERNS}", "labels.0.words"),
        (f"fields: [label]\nlabels: {{pos: great, neg: bad}}\n{PATTERNS}", "must not be called"),
        ("labels: [unclosed", "no readable YAML"),
        pytest.param("[" * 20_000, "nested too deeply", id="deep"),
        ("labels: !!python/object/apply:os.getcwd []\n", "no readable YAML"),
        ("? [a, b]\n: c\n", "no readable YAML"),
        ("- just\n- a list\n", "is no task"),
        ("", "is no task"),
    ],
)
def test_file_that_makes_no_task_is_refused_in_one_line(tmp_path: Path, content: str, complaint: str) -> None:
    with pytest.raises(TaskError) as refusal:
        read_task(task_file(tmp_path, content))
    assert complaint in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "task.yaml"
    path.write_bytes("labels: {caf\u00e9: x}".encode("latin-1"))
    with pytest.raises(TaskError, match="no readable YAML"):
        read_task(path)


def test_missing_file_is_a_task_error(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="cannot be read"):
        read_task(tmp_path / "task.yaml")


def test_options_give_names_words_and_names_that_are_their_own_word() -> None:
    task = task_from_options(["{text} {mask}"], ["World=world, globe", "sports"])
    assert [(label.name, label.words) for label in task.labels] == [
        ("World", ("world", "globe")),
        ("sports", ("sports",)),
    ]


@pytest.mark.parametrize("labels", [["pos="], ["=great", "neg"], ["pos"], ["pos", "pos"], ["pos=great,,good", "neg"]])
def test_options_that_make_no_task_are_refused(labels: list[str]) -> None:
    with pytest.raises(TaskError, match="the task: "):
        task_from_options(["{text} {mask}"], labels)
