"""Both clients behind one synchronous face, so that each promise is tested on both.

Importing this makes `tightfit` importable from the checkout, its stubs fresh.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).resolve().parents[2] / "client" / "python"
sys.path[:0] = [str(PACKAGE), str(PACKAGE / "src")]

import generate_stubs  # noqa: E402
import pytest  # noqa: E402

generate_stubs.refresh()

import tightfit  # noqa: E402, F401  for tests to import once it is importable
from tightfit import AsyncClient, Client, Event, Model  # noqa: E402

OnEvent = Callable[[Any], object]


class Side(ABC):
    """Options of the client are prefixed `client_`, the others are the call's."""

    @abstractmethod
    def call(self, server: str, method: str, *args: Any, **options: Any) -> Any:
        """One unary call."""

    @abstractmethod
    def iterate(
        self, server: str, method: str, *args: Any, on_event: OnEvent | None, **options: Any
    ) -> list[Any]:
        """All events of a stream; `on_event` may return True to leave it early."""

    def events(
        self, server: str, prompt: str, on_event: OnEvent | None = None, **options: Any
    ) -> list[Event]:
        return self.iterate(server, "stream", prompt, on_event=on_event, **options)

    def watch(self, server: str, on_model: OnEvent | None = None, **options: Any) -> list[Model]:
        return self.iterate(server, "watch_models", on_event=on_model, **options)


class SyncSide(Side):
    def call(self, server: str, method: str, *args: Any, **options: Any) -> Any:
        of_client, of_call = _split(options)
        with Client(server, **of_client) as client:
            return getattr(client, method)(*args, **of_call)

    def iterate(
        self, server: str, method: str, *args: Any, on_event: OnEvent | None, **options: Any
    ) -> list[Any]:
        of_client, of_call = _split(options)
        seen = []
        with Client(server, **of_client) as client:
            for event in getattr(client, method)(*args, **of_call):
                seen.append(event)
                if on_event is not None and on_event(event):
                    break
        return seen


class AsyncSide(Side):
    def call(self, server: str, method: str, *args: Any, **options: Any) -> Any:
        of_client, of_call = _split(options)

        async def run() -> Any:
            async with AsyncClient(server, **of_client) as client:
                return await getattr(client, method)(*args, **of_call)

        return asyncio.run(run())

    def iterate(
        self, server: str, method: str, *args: Any, on_event: OnEvent | None, **options: Any
    ) -> list[Any]:
        of_client, of_call = _split(options)
        seen = []

        async def run() -> None:
            async with AsyncClient(server, **of_client) as client:
                async for event in getattr(client, method)(*args, **of_call):
                    seen.append(event)
                    if on_event is not None and on_event(event):
                        break

        asyncio.run(run())
        return seen


SIDES: dict[str, Side] = {"sync": SyncSide(), "asyncio": AsyncSide()}


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
