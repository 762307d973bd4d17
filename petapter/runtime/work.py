"""What is asked of many modules, as encodings to run; and what their logits say of the texts."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Self

from torch import Tensor

from petapter.backbone import Backbone
from petapter.runtime.plan import Item
from petapter.scoring import PatternLogits, Scores, combined
from petapter.task import EncodedText, Encoder
from petapter.task.encoding import Fields
from petapter.trained import TrainedModule
from petapter_schemas.errors import InputError


def fields_of(alias: str, names: Sequence[str], text: str | Fields) -> Fields:
    """A text for a module by its fields, of which a plain text is the first.

    Raises:
        InputError: A field is missing, or holds half a character.
    """
    given: Fields = {names[0]: text} if isinstance(text, str) else text
    if missing := [name for name in names if name not in given]:
        raise InputError(f"module {alias!r} needs the text fields {', '.join(names)}: {missing[0]!r} is missing")
    for name in names:
        check_whole(given[name])
    return given


def check_whole(text: str) -> None:
    """Refuse what cannot be written down, so that tokenizers fail on it.

    Raises:
        InputError: The text holds half a character.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InputError("a text is no valid Unicode: it holds half a character") from None


@dataclass(frozen=True)
class _Part:
    """The texts of one module in one of its patterns.

    Attributes:
        first: Number of the first encoding.
        owner: By encoding, which of the texts it is of.
        lost_tokens: By text.
    """

    first: int
    owner: tuple[int, ...]
    lost_tokens: tuple[int, ...]


@dataclass(frozen=True)
class Formed:
    """What the plan has to know of a module's adapter.

    Attributes:
        bank: Number of its bank; None without an adapter.
        lowest: The lowest layer that it changes; 0 where the layers below are not to be shared.
    """

    bank: int | None
    lowest: int


@dataclass(frozen=True)
class Loaded:
    """A loaded module: its number, what it is but for its tensors, and how its patterns are read."""

    number: int
    module: TrainedModule
    encoders: tuple[Encoder, ...]
    form: Formed

    @classmethod
    def of(cls, number: int, module: TrainedModule, form: Formed, backbone: Backbone) -> Self:
        """A module on a backbone."""
        tokenization = module.task.tokenization
        encoders = tuple(
            Encoder(backbone.tokenizer, pattern, backbone.max_tokens, tokenization) for pattern in module.task.patterns
        )
        return cls(number, replace(module, adapter_tensors={}, head_tensors={}), encoders, form)


@dataclass
class Work:
    """Encodings of texts in every pattern of the modules they are for.

    Attributes:
        items: What the plan has to know of each.
        encoded: The encodings.
        labels_of: Labels by module.
    """

    items: list[Item] = field(default_factory=list)
    encoded: list[EncodedText] = field(default_factory=list)
    labels_of: dict[int, int] = field(default_factory=dict)
    _parts: dict[int, list[_Part]] = field(default_factory=dict)
    _numbers: dict[tuple[int, ...], int] = field(default_factory=dict)

    def add(self, loaded: Loaded, texts: Sequence[Fields]) -> None:
        """Take in one or more texts for a module, of which there are none yet."""
        module, form = loaded.number, loaded.form
        self.labels_of[module] = len(loaded.module.task.labels)
        parts: list[_Part] = []
        for pattern, encoder in enumerate(loaded.encoders):
            windows = encoder.encode_windows(texts)
            parts.append(_Part(len(self.items), windows.owner, windows.lost_tokens))
            self.items += [
                Item(form.bank, module, pattern, len(item.input_ids), self._number_of(item), form.lowest)
                for item in windows.encoded
            ]
            self.encoded += windows.encoded
        self._parts[module] = parts

    def _number_of(self, item: EncodedText) -> int:
        """The same for encodings of the same tokens."""
        return self._numbers.setdefault(item.input_ids, len(self._numbers))

    @property
    def labels(self) -> int:
        """Labels of the module with the most."""
        return max(self.labels_of.values(), default=0)

    def scores(self, logits: Tensor, number: int, module: TrainedModule) -> Scores:
        """What a module says of its texts, from the logits of all encodings [N, L]."""
        labels = len(module.task.labels)
        said = [
            PatternLogits(logits[part.first : part.first + len(part.owner), :labels], part.owner, part.lost_tokens)
            for part in self._parts[number]
        ]
        return combined(module.task, said, module.calibration)
