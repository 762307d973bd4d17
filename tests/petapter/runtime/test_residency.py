"""What stays on the device, by the model of a cache that is written out in full."""

from hypothesis import given
from hypothesis import strategies as st

from petapter.runtime.residency import Residency

SIZES = {module: 1 + module % 3 for module in range(8)}


class Device:
    def __init__(self) -> None:
        self.there: set[int] = set()

    def bring(self, module: int) -> int:
        assert module not in self.there
        self.there.add(module)
        return SIZES[module]

    def forget(self, module: int) -> None:
        self.there.remove(module)


@given(st.lists(st.sets(st.sampled_from(sorted(SIZES)), min_size=1, max_size=4), max_size=30), st.integers(0, 14))
def test_what_is_wanted_is_there_and_the_rest_fits_the_budget(asked: list[set[int]], budget: int) -> None:
    device = Device()
    cache = Residency(budget, device.bring, device.forget)
    recent: list[int] = []
    for wanted in asked:
        misses = len(wanted - device.there)
        before = cache.misses
        cache.use(wanted)
        assert cache.misses - before == misses
        assert wanted <= device.there
        assert cache.bytes == sum(SIZES[module] for module in device.there)
        assert cache.bytes <= budget or device.there == wanted
        recent = [module for module in recent if module not in wanted] + sorted(wanted)
        gone = [module for module in recent if module not in device.there]
        stays = [module for module in recent if module in device.there and module not in wanted]
        assert not gone or not stays or recent.index(gone[-1]) < recent.index(stays[0])
    assert cache.hits + cache.misses == sum(len(wanted) for wanted in asked)


def test_without_a_budget_nothing_goes() -> None:
    device = Device()
    cache = Residency(None, device.bring, device.forget)
    for module in SIZES:
        cache.add(module, device.bring(module))
    assert device.there == set(SIZES)
    assert (cache.hits, cache.misses) == (0, 0)


def test_dropped_module_makes_room_and_may_be_dropped_twice() -> None:
    device = Device()
    cache = Residency(10, device.bring, device.forget)
    cache.add(2, device.bring(2))
    cache.drop(2)
    cache.drop(2)
    assert (cache.bytes, len(cache), 2 in cache) == (0, 0, False)
