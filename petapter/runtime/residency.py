"""Which modules have their weights on the device: the least recently used make room when there is no more of it."""

from collections import OrderedDict
from collections.abc import Callable, Iterable


class Residency:
    """A cache of modules by number, of at most so many bytes.

    What has to leave the device is kept elsewhere too, so that to make room is to forget.

    Attributes:
        budget: Bytes that modules may take on the device; None for no limit.
        bytes: Bytes that they take.
        hits: How often a module was asked for and was there.
        misses: How often it had to be brought.
    """

    def __init__(self, budget: int | None, bring: Callable[[int], int], forget: Callable[[int], None]) -> None:
        """An empty cache.

        Args:
            budget: Bytes.
            bring: Puts a module on the device and says how many bytes it takes there.
            forget: Takes it from there.
        """
        self.budget = budget
        self.bytes = 0
        self.hits = 0
        self.misses = 0
        self._bring = bring
        self._forget = forget
        self._size_of: OrderedDict[int, int] = OrderedDict()
        """The most recently used last."""

    def __contains__(self, module: int) -> bool:
        return module in self._size_of

    def __len__(self) -> int:
        return len(self._size_of)

    def add(self, module: int, size: int) -> None:
        """Count a module of so many bytes that is new on the device; that is no miss."""
        self._count_in(module, size)
        self._make_room({module})

    def use(self, modules: Iterable[int]) -> None:
        """See to it that modules are there, all at once, whatever room they need together."""
        wanted = set(modules)
        for module in sorted(wanted):
            if module in self._size_of:
                self.hits += 1
                self._size_of.move_to_end(module)
            else:
                self.misses += 1
                self._count_in(module, self._bring(module))
        self._make_room(wanted)

    def drop(self, module: int) -> None:
        """Forget a module, if it is there."""
        if module in self._size_of:
            self.bytes -= self._size_of.pop(module)
            self._forget(module)

    def _count_in(self, module: int, size: int) -> None:
        self._size_of[module] = size
        self.bytes += size

    def _make_room(self, wanted: set[int]) -> None:
        """Forget the least recently used but for those that are wanted now."""
        if self.budget is None or self.bytes <= self.budget:
            return
        for module in [module for module in self._size_of if module not in wanted]:
            self.drop(module)
            if self.bytes <= self.budget:
                return
