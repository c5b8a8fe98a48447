"""Both clients behind one synchronous face, so that each promise is tested on both.

Importing this makes `tightfit` importable from the checkout, its stubs fresh.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).resolve().parents[2] / "client" / "python"
sys.path[:0] = [str(PACKAGE), str(PACKAGE / "src")]

import generate_stubs  # noqa: E402
import pytest  # noqa: E402

generate_stubs.refresh()

import tightfit  # noqa: E402, F401  for tests to import once it is importable
from tightfit import AsyncClient, Client, Event  # noqa: E402

OnEvent = Callable[[Event], object]


class SyncSide:
    def call(self, server: str, method: str, *args: Any, **options: Any) -> Any:
        """One unary call. Options of the client are prefixed `client_`."""
        of_client, of_call = _split(options)
        with Client(server, **of_client) as client:
            return getattr(client, method)(*args, **of_call)

    def events(
        self, server: str, prompt: str, on_event: OnEvent | None = None, **options: Any
    ) -> list[Event]:
        """All events of a stream; `on_event` may return True to leave it early."""
        of_client, of_call = _split(options)
        seen = []
        with Client(server, **of_client) as client:
            for event in client.stream(prompt, **of_call):
                seen.append(event)
                if on_event is not None and on_event(event):
                    break
        return seen


class AsyncSide:
    def call(self, server: str, method: str, *args: Any, **options: Any) -> Any:
        of_client, of_call = _split(options)

        async def run() -> Any:
            async with AsyncClient(server, **of_client) as client:
                return await getattr(client, method)(*args, **of_call)

        return asyncio.run(run())

    def events(
        self, server: str, prompt: str, on_event: OnEvent | None = None, **options: Any
    ) -> list[Event]:
        of_client, of_call = _split(options)
        seen = []

        async def run() -> None:
            async with AsyncClient(server, **of_client) as client:
                async for event in client.stream(prompt, **of_call):
                    seen.append(event)
                    if on_event is not None and on_event(event):
                        break

        asyncio.run(run())
        return seen


Side = SyncSide | AsyncSide
SIDES = {"sync": SyncSide(), "asyncio": AsyncSide()}


def _split(options: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    of_client = {
        name.removeprefix("client_"): value
        for name, value in options.items()
        if name.startswith("client_")
    }
    return of_client, {n: v for n, v in options.items() if not n.startswith("client_")}


def later(seconds: float, act: Callable[[], object]) -> threading.Timer:
    timer = threading.Timer(seconds, act)
    timer.daemon = True
    timer.start()
    return timer


on_both_sides = pytest.mark.parametrize("side", SIDES.values(), ids=SIDES.keys())
