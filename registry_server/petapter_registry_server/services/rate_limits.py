"""How many requests a user, or an address without a user, may send in five minutes; counted in this process alone."""

import ipaddress
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from petapter_registry_server.errors import TooManyRequestsError
from petapter_registry_server.services.callers import Caller

if TYPE_CHECKING:
    from limits import RateLimitItem
    from limits.strategies import FixedWindowRateLimiter

WINDOW_S = 300
_NETWORK_BITS = 64


@dataclass(frozen=True)
class Rates:
    """Requests per window; None is no limit."""

    user: int | None = None
    address: int | None = None
    window_s: int = WINDOW_S


class RateLimits:
    """Counts the requests of one process."""

    def __init__(self, rates: Rates) -> None:
        self._user = _item(rates.user, rates.window_s)
        self._address = _item(rates.address, rates.window_s)
        self._windows = _windows() if self._user or self._address else None

    def count(self, caller: Caller, address: str) -> None:
        """Count a request: for the user, whichever token is used, or for the address of those without a user.

        Raises:
            TooManyRequestsError: The window holds as many as are taken.
        """
        if caller.user_id is None:
            self.count_address(address)
        else:
            self._hit(self._user, f"user {caller.user_id}")

    def count_address(self, address: str) -> None:
        """Count a request of nobody known, such as one with a wrong token. Raises: as `count`."""
        self._hit(self._address, f"address {network_of(address)}")

    def _hit(self, item: "RateLimitItem | None", key: str) -> None:
        if item is None or self._windows is None or self._windows.hit(item, key):
            return
        wait_s = math.ceil(self._windows.get_window_stats(item, key).reset_time - time.time())
        raise TooManyRequestsError(limit=item.amount, window_s=item.get_expiry(), wait_s=max(wait_s, 1))


def _item(amount: int | None, window_s: int) -> "RateLimitItem | None":
    if amount is None:
        return None
    from limits import RateLimitItemPerSecond  # noqa: PLC0415 (a registry on a loopback address does without)

    return RateLimitItemPerSecond(amount, window_s)


def _windows() -> "FixedWindowRateLimiter":
    from limits.storage import MemoryStorage  # noqa: PLC0415 (as above)
    from limits.strategies import FixedWindowRateLimiter  # noqa: PLC0415

    return FixedWindowRateLimiter(MemoryStorage())


def network_of(address: str) -> str:
    """One customer has a whole /64 of IPv6 addresses; what is no address stands for itself."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    return address if found.version == 4 else str(ipaddress.ip_network((address, _NETWORK_BITS), strict=False))  # noqa: PLR2004
