"""What is asked of many modules, as encodings to run; and what their logits say of the texts."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from petapter.runtime.plan import Item
from petapter.scoring import PatternLogits, Scores, combined
from petapter.task import EncodedText, Encoder
from petapter.task.encoding import Fields
from petapter.trained import TrainedModule
from petapter_schemas.errors import InputError


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

    def add(
        self,
        module: int,
        form: Formed,
        labels: int,
        encoders: Sequence[Encoder],
        texts: Sequence[Fields],
    ) -> None:
        """Take in the texts for a module, of which there are none yet.

        Args:
            module: Its number.
            form: Of its adapter.
            labels: How many it has.
            encoders: By pattern.
            texts: One or more.
        """
        self.labels_of[module] = labels
        parts: list[_Part] = []
        for pattern, encoder in enumerate(encoders):
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
