"""Reads a task from YAML or JSON, or from the words on a command line."""

from collections.abc import Sequence
from pathlib import Path

import yaml
from pydantic import ValidationError

from petapter.text_yaml import TextLoader
from petapter_schemas.errors import TaskError
from petapter_schemas.messages import first_problem
from petapter_schemas.task import TaskSpec


def read_task(path: Path) -> TaskSpec:
    """Read a task file; YAML, of which JSON is a part.

    Raises:
        TaskError: The file cannot be read or is no task.
    """
    document = read_yaml(path)
    if not isinstance(document, dict):
        raise TaskError(f"{path} is no task: it needs 'labels' and 'patterns'")
    return _validated(document, str(path))


def read_yaml(path: Path) -> object:
    """Read a YAML file, every scalar as the text it is.

    Raises:
        TaskError: The file cannot be read, is no YAML, repeats a key or is nested too deeply.
    """
    try:
        document: object = yaml.load(path.read_text(encoding="utf-8-sig"), Loader=TextLoader)  # noqa: S506 (a SafeLoader)
    except OSError as error:
        raise TaskError(f"{path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise TaskError(f"{path} is no readable YAML: {' '.join(str(error).split())}") from error
    except RecursionError as error:
        raise TaskError(f"{path} is no readable YAML: it is nested too deeply") from error
    return document


def task_from_options(patterns: Sequence[str], labels: Sequence[str]) -> TaskSpec:
    """Make a task from templates and from labels written `World=world,globe`, or `World` when the name is the word.

    Raises:
        TaskError: They make no task.
    """
    entries: list[dict[str, object]] = []
    for text in labels:
        name, equals, words = text.partition("=")
        entries.append({"name": name.strip(), "words": words.split(",") if equals else [name]})
    return _validated({"labels": entries, "patterns": list(patterns)}, "the task")


def _validated(document: dict[object, object], source: str) -> TaskSpec:
    try:
        return TaskSpec.model_validate(document)
    except ValidationError as error:
        raise TaskError(f"{source}: {first_problem(error)}") from error
