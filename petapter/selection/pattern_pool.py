"""Patterns to choose from: the user's own, and those of a small grammar in the languages of the texts.

The grammar is data (petapter/assets/patterns/grammar.yaml). Its forms are those that pattern-exploiting training has
used by hand (Schick and Schütze 2021, arXiv 2001.07676) and null patterns, which have no words (Logan IV et al. 2021,
arXiv 2106.13353); its words in other languages are translations of the English ones.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cache
from importlib.resources import as_file, files
from itertools import groupby

from petapter.backbone import Backbone
from petapter.task import Encoder, Finding, lint_task, read_verbalizer
from petapter.task.reading import read_yaml
from petapter_schemas.errors import TaskError
from petapter_schemas.task import Literally, PatternSpec, Slot, TaskSpec, split_template

OWN = "own"
GRAMMAR = "grammar"
NO_LANGUAGE = "any"
"""Stands for a language in the origin of patterns that have no words."""

_GRAMMAR_FILE = "assets/patterns/grammar.yaml"
_ALIKE = 0.85
"""Share of words and slots in common, in order, from which two patterns ask the same."""
_VARIABLE = re.compile(r"<([^<>]+)>")
_TOKEN = re.compile(r"\w+|[^\w\s]")
_PAIR = 2


@dataclass(frozen=True)
class PooledPattern:
    """A pattern that may be chosen.

    Attributes:
        name: For people, of one pool each once: "own 1", "en topic last".
        pattern: The pattern; one of the grammar keeps long texts as the first own one does.
        origin: "own", "grammar:en", or "grammar:any" without words.
        reads_words_alike: Whether the label words are the same tokens here as in the first own pattern, so that one
            module can ask in both.
        warnings: What the lint says of it.
    """

    name: str
    pattern: PatternSpec
    origin: str
    reads_words_alike: bool
    warnings: tuple[str, ...] = ()

    def alone(self, task: TaskSpec) -> TaskSpec:
        """The task, asked in this pattern alone."""
        return task.model_copy(update={"patterns": (self.pattern,)})


@dataclass(frozen=True)
class DroppedPattern:
    """A pattern that is not in a pool, and why."""

    name: str
    template: str
    why: str


@dataclass(frozen=True)
class PatternPool:
    """Patterns to choose from.

    Attributes:
        patterns: The own ones in their order, then those of each language, then those without words.
        dropped: Patterns of the grammar that repeat another, and all that cannot be asked alone.
    """

    patterns: tuple[PooledPattern, ...]
    dropped: tuple[DroppedPattern, ...]


@dataclass(frozen=True)
class Phrased:
    """A pattern as the grammar writes it: its name, its origin, its template."""

    name: str
    origin: str
    template: str


def pattern_pool(task: TaskSpec, languages: Sequence[str], backbone: Backbone) -> PatternPool:
    """Put the patterns of a task and those of the grammar side by side.

    Args:
        task: Its own patterns stay, but for one that cannot be asked alone; the grammar writes for its text fields,
            with as many masks as the own pattern with the fewest has.
        languages: Codes such as "en" or "pt-BR", in the order of their patterns; those that the grammar does not speak
            have its patterns without words alone.
        backbone: Its tokenizer says which patterns can work.

    Raises:
        TaskError: The task cannot work; the message names the first problem.
    """
    for finding in lint_task(task, backbone.tokenizer, backbone.max_tokens):
        if finding.severity == "error":
            raise TaskError(finding.message)
    chosen: list[PooledPattern] = []
    dropped: list[DroppedPattern] = []
    for written in _written(task, languages):
        if (why := _why_not(written, chosen, task, backbone)) is None:
            chosen.append(_pooled(written, task, backbone))
        else:
            dropped.append(DroppedPattern(written.name, written.pattern.template, why))
    return PatternPool(tuple(chosen), tuple(dropped))


def phrase_patterns(fields: Sequence[str], masks: int, languages: Sequence[str]) -> Iterator[Phrased]:
    """All patterns that the grammar writes for some text fields, by language, those without words last.

    Args:
        fields: Names of the text fields, one or more.
        masks: How many masks stand side by side.
        languages: As in `pattern_pool`; one that is named twice counts once.
    """
    grammar = _grammar()
    slots = {"{text}": " ".join(f"{{{name}}}" for name in fields), "{mask}": " ".join(["{mask}"] * masks)}
    for language in dict.fromkeys(code.casefold().split("-")[0] for code in languages):
        if (words := grammar.languages.get(language)) is None:
            continue
        for name, frame in grammar.frames.items():
            said = _VARIABLE.sub(lambda found, words=words: words[found[1]], frame)  # type: ignore[misc]
            yield Phrased(f"{language} {name}", f"{GRAMMAR}:{language}", _filled(said, slots))
    wordless = dict(grammar.punctuation)
    if len(fields) == _PAIR:
        wordless |= grammar.pairs
        slots |= {"{first}": f"{{{fields[0]}}}", "{second}": f"{{{fields[1]}}}"}
    for name, frame in wordless.items():
        yield Phrased(name, f"{GRAMMAR}:{NO_LANGUAGE}", _filled(frame, slots))


def spoken_languages() -> tuple[str, ...]:
    """Codes of the languages in which the grammar has words."""
    return tuple(_grammar().languages)


@dataclass(frozen=True)
class _Grammar:
    """The file: frames by name, and what each language says for their variables."""

    frames: Mapping[str, str]
    punctuation: Mapping[str, str]
    pairs: Mapping[str, str]
    languages: Mapping[str, Mapping[str, str]]


@cache
def _grammar() -> _Grammar:
    with as_file(files("petapter") / _GRAMMAR_FILE) as path:
        document = read_yaml(path)
    if not isinstance(document, dict):
        raise TaskError(f"{_GRAMMAR_FILE} is no grammar: install petapter again")
    return _Grammar(**document)


def _filled(frame: str, slots: Mapping[str, str]) -> str:
    return re.sub("|".join(map(re.escape, slots)), lambda found: slots[found[0]], frame)


@dataclass(frozen=True)
class _Written:
    """A pattern that wants to be in a pool."""

    name: str
    origin: str
    pattern: PatternSpec


def _written(task: TaskSpec, languages: Sequence[str]) -> Iterator[_Written]:
    for number, pattern in enumerate(task.patterns, start=1):
        yield _Written(f"{OWN} {number}", OWN, pattern)
    masks = min(pattern.masks for pattern in task.patterns)
    for phrased in phrase_patterns(task.fields, masks, languages):
        pattern = task.patterns[0].model_copy(update={"template": phrased.template})
        yield _Written(phrased.name, phrased.origin, pattern)


def _pooled(written: _Written, task: TaskSpec, backbone: Backbone) -> PooledPattern:
    alone = task.model_copy(update={"patterns": (written.pattern,)})
    alike = read_verbalizer(alone, backbone.tokenizer) == read_verbalizer(task, backbone.tokenizer)
    warnings = tuple(finding.message for finding in _lint(written.pattern, task, backbone))
    return PooledPattern(written.name, written.pattern, written.origin, alike, warnings)


def _why_not(written: _Written, chosen: Sequence[PooledPattern], task: TaskSpec, backbone: Backbone) -> str | None:
    """Why a pattern is left out; None where it is not."""
    pattern, is_own = written.pattern, written.origin == OWN
    like = next((each for each in chosen if _ask_alike(each.pattern, pattern)), None)
    if like is not None and not is_own:
        return f"asks as {like.name} does"
    for finding in _lint(pattern, task, backbone):
        if finding.severity == "error":
            return finding.message
    try:
        (bare,) = _encoder(pattern, task, backbone).encode([dict.fromkeys(task.fields, "")])
    except TaskError as error:
        return str(error)
    unknown = backbone.tokenizer.unk_token_id
    if unknown is not None and unknown in bare.input_ids and not is_own:
        return "has words that the tokenizer does not know"
    return None


def _lint(pattern: PatternSpec, task: TaskSpec, backbone: Backbone) -> list[Finding]:
    return lint_task(task.model_copy(update={"patterns": (pattern,)}), backbone.tokenizer, backbone.max_tokens)


def _encoder(pattern: PatternSpec, task: TaskSpec, backbone: Backbone) -> Encoder:
    return Encoder(backbone.tokenizer, pattern, backbone.max_tokens, task.tokenization)


def _ask_alike(one: PatternSpec, other: PatternSpec) -> bool:
    """Whether two patterns have nearly the same words and slots in the same order."""
    return SequenceMatcher(None, _tokens(one), _tokens(other), autojunk=False).ratio() >= _ALIKE


def _tokens(pattern: PatternSpec) -> list[str]:
    """Slots and words, whatever their case; punctuation, but for that at the end, where there are no words.

    Masks side by side are one slot, and so are text fields: a task with many of them has no fewer ways to ask.
    """
    tokens: list[str] = []
    for is_mask, pieces in groupby(
        _spoken(pattern), key=lambda piece: piece.is_mask if isinstance(piece, Slot) else None
    ):
        if is_mask is None:
            tokens += [token for piece in pieces if isinstance(piece, Literally) for token in _words_of(piece)]
        else:
            tokens.append("{mask}" if is_mask else "{" + " ".join(p.field for p in pieces if isinstance(p, Slot)) + "}")
    while tokens and not _says(tokens[-1]):
        tokens.pop()
    has_words = any(_says(token) and not token.startswith("{") for token in tokens)
    return [token for token in tokens if _says(token)] if has_words else tokens


def _spoken(pattern: PatternSpec) -> list[Literally | Slot]:
    """The pieces of a template without those that are blank."""
    return [piece for piece in split_template(pattern.template) if isinstance(piece, Slot) or piece.text.strip()]


def _words_of(piece: Literally) -> list[str]:
    return _TOKEN.findall(piece.text.casefold())


def _says(token: str) -> bool:
    """Whether a token is a word or a slot."""
    return any(character.isalnum() for character in token)
