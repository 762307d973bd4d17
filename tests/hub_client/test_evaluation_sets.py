"""`petapter evalset`: from labelled rows to a set on a registry, back again, and compared; against a real process."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import petapter_hub_client as hub
from petapter_schemas.errors import DataError, DigestMismatchError, InputError
from petapter_schemas.evaluation_rows import rows_bytes
from petapter_schemas.fingerprints import rows_sha256
from tests.hub_client.conftest import Petapter, Ran, Stub

ROWS = (
    ("The app crashes when I open it.", "poor"),
    ("Nobody answers my mails.", "poor"),
    ("Great support, answered in minutes.", "very good"),
)
LABELLED = [{"text": text, "label": label} for text, label in ROWS]


def table(path: Path, rows: Sequence[tuple[str, str]] = ROWS, header: str = "text,label") -> Path:
    path.write_text("".join(f"{line}\n" for line in [header, *(f'"{one}",{other}' for one, other in rows)]), "utf-8")
    return path


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    return table(tmp_path / "rows.csv")


@pytest.fixture
def name(repo_id: str) -> str:
    return repo_id.partition("/")[2]


def answer(ran: Ran) -> Any:
    assert ran.code == 0, ran
    return ran.json


def test_rows_become_a_set_that_is_published_found_fetched_and_compared(
    lab: Petapter, rows: Path, tmp_path: Path, repo_id: str, name: str
) -> None:
    made = answer(lab("evalset", "create", rows, "--out", tmp_path / name, "--license", "CC-BY-4.0", "--json"))
    assert (made["n"], made["counts"], made["labels"]) == (3, [2, 1], ["poor", "very good"])
    assert made["rows_sha256"] == rows_sha256(LABELLED)
    pushed = answer(lab("evalset", "push", tmp_path / name, f"lab:{repo_id}", "--json"))
    assert (pushed["id"], pushed["digest"], pushed["version"]) == (repo_id, made["digest"], "1.0.0")
    again = lab("evalset", "push", tmp_path / name, repo_id, "-q")
    assert again.out == f"lab:{repo_id}@1.0.0\n"
    (found,) = answer(lab("evalset", "list", "--rows", made["rows_sha256"], "--json"))
    assert found["id"] == repo_id
    assert answer(lab("evalset", "show", f"{repo_id}@v1.0.0", "--json")) == pushed
    fetched = answer(lab("evalset", "pull", repo_id, "--out", tmp_path / "fetched", "--json"))
    assert (fetched["has_rows"], fetched["digest"]) == (True, made["digest"])
    assert (tmp_path / "fetched" / "rows.jsonl").read_bytes() == rows_bytes(LABELLED)
    turned = table(tmp_path / "turned.csv", ROWS[::-1])
    checked = lab("evalset", "check", f"{repo_id}@1.0.0", turned)
    assert checked.out == f"{turned} holds the 3 rows of {repo_id} 1.0.0, sha256:{made['rows_sha256']}\n"
    assert "no module was measured on" in lab("evalset", "board", repo_id).err


def test_rows_may_stay_at_home(lab: Petapter, rows: Path, tmp_path: Path, repo_id: str, name: str) -> None:
    lab("evalset", "create", rows, "--out", tmp_path / name, "--source", "https://example.org/tickets")
    pushed = answer(lab("evalset", "push", tmp_path / name, repo_id, "--without-rows", "--json"))
    assert pushed["rows_bytes"] is None
    ran = lab("evalset", "pull", repo_id, "--out", tmp_path / "fetched")
    assert "are not on the registry: look for them at https://example.org/tickets" in ran.err
    assert [path.name for path in (tmp_path / "fetched").iterdir()] == ["evaluation-set.json"]
    assert lab("evalset", "check", repo_id, rows).code == 0


def test_other_rows_end_with_the_code_for_what_is_not_what_it_should_be(
    lab: Petapter, rows: Path, tmp_path: Path, repo_id: str, name: str
) -> None:
    lab("evalset", "create", rows, "--out", tmp_path / name)
    lab("evalset", "push", tmp_path / name, repo_id)
    ran = lab("evalset", "check", repo_id, table(tmp_path / "fewer.csv", ROWS[:2]))
    assert ran.code == 6
    assert f"holds other rows than {repo_id} 1.0.0: 2 with the sha256" in ran.error
    file = tmp_path / name / "rows.jsonl"
    file.write_bytes(file.read_bytes().replace(b"minutes", b"seconds"))
    ran = lab("evalset", "push", tmp_path / name, repo_id)
    assert (ran.code, "holds other rows than the evaluation set promises" in ran.error) == (6, True)


def test_another_content_under_a_published_version_is_a_conflict(
    lab: Petapter, rows: Path, tmp_path: Path, repo_id: str, name: str
) -> None:
    for folder, about in (("one", "first"), ("two", "second")):
        lab("evalset", "create", rows, "--out", tmp_path / folder, "--name", name, "--description", about)
    assert lab("evalset", "push", tmp_path / "one", repo_id).code == 0
    ran = lab("evalset", "push", tmp_path / "two", repo_id)
    assert (ran.code, "is published with other content, and never changes" in ran.error) == (7, True)


def test_private_set_is_made_and_unknown_ones_are_not_found(
    lab: Petapter, rows: Path, tmp_path: Path, repo_id: str, name: str
) -> None:
    lab("evalset", "create", rows, "--out", tmp_path / name)
    lab("evalset", "push", tmp_path / name, repo_id, "--private")
    (found,) = answer(lab("evalset", "list", "--namespace", "team", name.rpartition("-")[2], "--json"))
    assert found["private"] is True
    assert "'best' is no status: use verified" in lab("evalset", "board", repo_id, "--status", "best").error
    for words in (("show", f"{repo_id}-none"), ("board", f"{repo_id}@9.9.9"), ("show", f"{repo_id}@9.9.9")):
        assert lab("evalset", *words).code == 4, words


@pytest.mark.parametrize(
    ("content", "options", "said"),
    [
        ("text,label\n", (), "has no rows"),
        ("text\nfine\n", (), "has no column 'label'"),
        ("text,label\nfine,\n", (), "line 2: column 'label' is empty"),
        ("text,label\n,good\n", (), "line 2: column 'text' is empty"),
        ("text,label\nfine,good\n", (), "this cannot be an evaluation set: labels"),
        ("text,label,weight\na,x,2\nb,y,1\n", (), "line 2: a row of an evaluation set counts once"),
        ("text,label\na,x\nb,y\n", ("--label", "x", "--label", "z"), "label 'y' is not in the set (labels: x, z)"),
        ("text,label\na,x\nb,y\n", ("--version", "1"), "this cannot be an evaluation set: version"),
        ("text,label\na,x\nb,y\n", ("--name", "../x"), "this cannot be an evaluation set: name"),
        ("text,label\na,x\nb,y\n", ("--field", "body"), "has no column 'body'"),
        ("text,label\na,x\nb,X\n", (), "two labels look like"),
        ("text,label,labels\na,x,y\n", ("--multi-label",), "there must be one column 'label' or 'labels'"),
        ("text,labels\na,x||y\n", ("--multi-label",), "a name between two bars is empty"),
        ("text,label\n\xff,x\n", (), "is not UTF-8"),
    ],
)
def test_rows_that_cannot_be_a_set_are_refused_in_one_line(
    petapter: Petapter, tmp_path: Path, content: str, options: tuple[str, ...], said: str
) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_bytes(content.encode("latin-1"))
    ran = petapter("evalset", "create", rows, "--out", tmp_path / "made", *options)
    assert ran.code == 1
    assert said in ran.error
    assert not (tmp_path / "made").exists()


def test_a_directory_that_exists_or_is_no_set_is_refused(petapter: Petapter, rows: Path, tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "file").touch()
    assert "exists already" in petapter("evalset", "create", rows, "--out", tmp_path / "made").error
    ran = petapter("evalset", "push", tmp_path / "made", "team/made")
    assert (ran.code, "is no evaluation set" in ran.error) == (6, True)
    (tmp_path / "made" / "evaluation-set.json").write_text("{}")
    assert "it has no schema_version" in petapter("evalset", "push", tmp_path / "made", "team/made").error


def test_a_reference_must_have_the_name_of_the_set_and_no_version(
    petapter: Petapter, rows: Path, tmp_path: Path
) -> None:
    petapter("evalset", "create", rows, "--out", tmp_path / "made")
    assert "is called 'made', not 'other'" in petapter("evalset", "push", tmp_path / "made", "team/other").error
    assert "leave out the @" in petapter("evalset", "push", tmp_path / "made", "team/made@1.0.0").error


def test_a_set_with_several_labels_of_two_fields_is_made_of_json_lines(tmp_path: Path) -> None:
    lines = [{"title": "a", "body": "b", "labels": ["y", "x"]}, {"title": "c", "body": "d", "labels": []}]
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    options = hub.SetOptions("two", type="multi-label", fields=("title", "body"), labels=("x", "y"))
    made = hub.create_evaluation_set(rows, tmp_path / "two", options)
    assert (made.spec.fields, made.spec.counts, made.spec.n) == (("body", "title"), (1, 1), 2)
    expected = [{"title": "a", "body": "b", "label": "x|y"}, {"title": "c", "body": "d", "label": ""}]
    assert made.spec.rows_sha256 == rows_sha256(expected)
    assert hub.read_evaluation_set(tmp_path / "two") == made


def test_the_core_names_the_same_rows_by_the_same_digest(rows: Path, tmp_path: Path) -> None:
    from petapter.task import read_examples, rows_digest
    from petapter_schemas.task import TaskSpec

    task = TaskSpec.model_validate({"labels": {"poor": "bad", "very good": "good"}, "patterns": ["{text} {mask}"]})
    made = hub.create_evaluation_set(rows, tmp_path / "made", hub.SetOptions("made"))
    assert made.spec.rows_sha256 == rows_digest(read_examples(rows, task))


def test_a_registry_that_gives_other_rows_or_another_document_is_not_believed(
    stub: Stub, petapter: Petapter, rows: Path, tmp_path: Path
) -> None:
    made = hub.create_evaluation_set(rows, tmp_path / "made", hub.SetOptions("made"))
    facts = {
        **made.spec.model_dump(mode="json", exclude={"name", "schema_version"}), "id": "team/made",
        "digest": made.spec.digest, "published": "2026-01-01T00:00:00.000Z", "by": "x", "rows_bytes": 1,
        "withdrawn": None,
    }  # fmt: skip
    api = "/api/petapter/v1/evalsets/team/made"
    petapter("remote", "add", "stub", stub.url)
    stub.headers = {"X-Petapter-Api": "1"}
    stub.answers[api] = json.dumps({"id": "team/made", "private": False, "versions": [facts]}).encode()
    stub.answers[f"{api}/versions/1.0.0"] = made.spec.model_dump_json().encode()
    stub.answers[f"{api}/versions/1.0.0/rows"] = rows_bytes(LABELLED[:2])
    ran = petapter("evalset", "pull", "stub:team/made", "--out", tmp_path / "fetched")
    assert (ran.code, "rows.jsonl has 2 rows, and the evaluation set promises 3" in ran.error) == (6, True)
    assert not (tmp_path / "fetched").exists()
    stub.answers[f"{api}/versions/1.0.0"] = made.spec.model_copy(update={"split": "dev"}).model_dump_json().encode()
    ran = petapter("evalset", "pull", "stub:team/made", "--out", tmp_path / "fetched")
    assert (ran.code, "is not what remote 'stub' says it is" in ran.error) == (6, True)


def test_errors_of_the_python_functions_are_those_of_the_schemas(rows: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError):
        hub.create_evaluation_set(rows, tmp_path / "made", hub.SetOptions("a b"))
    with pytest.raises(DataError):
        hub.create_evaluation_set(tmp_path / "none.csv", tmp_path / "made", hub.SetOptions("made"))
    made = hub.create_evaluation_set(rows, tmp_path / "made", hub.SetOptions("made"))
    assert made.rows is not None
    made.rows.write_bytes(b"")
    with pytest.raises(DigestMismatchError):
        hub.read_evaluation_set(made.directory)
