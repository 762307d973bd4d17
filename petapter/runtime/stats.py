"""What an engine says of itself."""

from dataclasses import dataclass


@dataclass(frozen=True)
class EngineStats:
    """What an engine holds and has done.

    Attributes:
        modules: Loaded modules.
        resident: Those whose weights are on the device.
        resident_bytes: What these take there.
        host_bytes: What modules take in host memory to come back from; on a CPU these are the very same bytes.
        hits: How often a pass found a module on the device.
        misses: How often it had to be brought.
        encodings: Texts that were run, each pattern and window counted.
        tokens: Their tokens.
        seconds: What the passes took.
    """

    modules: int
    resident: int
    resident_bytes: int
    host_bytes: int
    hits: int
    misses: int
    encodings: int
    tokens: int
    seconds: float

    @property
    def tokens_per_second(self) -> float:
        """Tokens by seconds; 0 before anything ran."""
        return self.tokens / self.seconds if self.seconds else 0.0
