"""This process's memory: giving it back, and the most that it was."""

from __future__ import annotations

import ctypes
import gc
import resource


def release() -> None:
    """Gives back what is not used: modules refer to each other in circles, and glibc keeps pages.

    Without it a network stays in memory while the next one is loaded.
    """
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError):
        pass  # another C library


def peak_bytes() -> int:
    """The largest resident size so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
