"""When to try a call again, apart from how: free of gRPC, sockets and waiting."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from tightfit.errors import CannotConnectError, TightfitError, UnavailableError

FIRST_DELAY_SECONDS = 0.25
MAX_DELAY_SECONDS = 5.0
# Callers that were told the same delay do not come back in the same moment.
JITTER = 0.25


@dataclass
class Attempts:
    """The tries of one call. `timeout` and all delays are in seconds."""

    max_attempts: int
    timeout: float | None
    clock: Callable[[], float] = time.monotonic
    jitter: Callable[[], float] = random.random

    def __post_init__(self) -> None:
        self._deadline = None if self.timeout is None else self.clock() + self.timeout
        self._delay = FIRST_DELAY_SECONDS
        self._failed = 0

    def answered(self, *, may_begin_again: bool) -> None:
        """A part of the answer has been passed on: the next failure is a first one, or final."""
        self._delay = FIRST_DELAY_SECONDS
        self._failed = 0 if may_begin_again else self.max_attempts

    def remaining(self) -> float | None:
        """Seconds that are left of the call; never negative."""
        return None if self._deadline is None else max(0.0, self._deadline - self.clock())

    def delay_after(self, error: TightfitError) -> float | None:
        """Seconds to wait for the next try after `error`, or None where there is none.

        Only UNAVAILABLE is tried again. Never sooner than the server's RetryInfo says, and not at
        all where the deadline would pass meanwhile.
        """
        self._failed += 1
        # A failed connection was waited for already.
        retryable = isinstance(error, UnavailableError) and not isinstance(
            error, CannotConnectError
        )
        if not retryable or self._failed >= self.max_attempts:
            return None
        delay = max(self._delay, error.retry_after_seconds or 0.0) * (1 + JITTER * self.jitter())
        self._delay = min(2 * self._delay, MAX_DELAY_SECONDS)
        remaining = self.remaining()
        return delay if remaining is None or delay < remaining else None
