"""Clients that do everything at once, at random, and a judge who knows what each may be told.

The sequence of every client's actions follows from its seed; how they meet does not.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from client_sides import tightfit
from server_process import metric_values

PROMPT = "red apple"
# Longer than any honest call takes, so that what hangs is told as a deadline that nobody gave.
HANG_SECONDS = 120.0
SHORT_DEADLINE_SECONDS = 0.05


@dataclass(frozen=True)
class Wanted:
    """What decides every byte of a request's images."""

    model: str
    seed: int
    step_count: int
    image_count: int


SEEDS = (1, 2)
STEP_COUNTS = (1, 3)
IMAGE_COUNTS = (1, 2)

Reference = Mapping[Wanted, tuple[bytes, ...]]


def draw_reference(server: str, models: list[str]) -> Reference:
    """All that a client may ask for, one request at a time."""
    drawn = {}
    with tightfit.Client(server, timeout=HANG_SECONDS) as client:
        for model in models:
            for seed in SEEDS:
                for steps in STEP_COUNTS:
                    for count in IMAGE_COUNTS:
                        wanted = Wanted(model, seed, steps, count)
                        result = client.generate(PROMPT, **parameters_of(wanted))
                        drawn[wanted] = tuple(image.png for image in result.images)
    return drawn


def parameters_of(wanted: Wanted) -> dict[str, object]:
    return {
        "model": wanted.model,
        "seed": wanted.seed,
        "step_count": wanted.step_count,
        "image_count": wanted.image_count,
    }


# What a caller may be told beside success, by what was called. Each has done nothing wrong: others
# pin, fill the queue and unload by force.
_OF_ROOM = {"EXCEEDS_DEVICE_MEMORY": "FAILED_PRECONDITION", "QUEUE_FULL": "RESOURCE_EXHAUSTED"}
LEGAL: dict[str, dict[str, str]] = {
    "draw": {**_OF_ROOM, "PREEMPTED": "ABORTED"},
    "load": {**_OF_ROOM, "PREEMPTED": "ABORTED", "VRAM_BUSY": "RESOURCE_EXHAUSTED"},
    "unload": {"MODEL_IN_USE": "FAILED_PRECONDITION", "MODEL_PINNED": "FAILED_PRECONDITION"},
    "unload by force": {},
    "update": {},
}


@dataclass
class Judge:
    """Holds every answer against the reference and against what may be refused. Thread-safe.

    counts: of outcomes, by what was called and what came of it
    wrongs: one line for each answer that no honest server gives
    """

    reference: Reference
    counts: Counter[str] = field(default_factory=Counter)
    wrongs: list[str] = field(default_factory=list)
    drawn_by_model: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def image(self, wanted: Wanted, index: int, seed: int, content: bytes) -> None:
        expected = self.reference[wanted]
        right = 0 <= index < len(expected) and content == expected[index]
        with self._lock:
            if right and seed == wanted.seed + index:
                self.counts["image: right"] += 1
                self.drawn_by_model[wanted.model] += 1
            else:
                self.wrongs.append(f"{wanted}: image {index} of seed {seed} is another one")

    def done(self, call: str, outcome: str = "done") -> None:
        with self._lock:
            self.counts[f"{call}: {outcome}"] += 1

    def finished_with(self, wanted: Wanted, image_count: int) -> None:
        if image_count == wanted.image_count:
            self.done("draw")
        else:
            self.wrong(f"{wanted}: ended well after {image_count} images")

    def refused(self, call: str, error: tightfit.TightfitError, deadline: bool = False) -> None:
        """`deadline`: the call had a short one."""
        legal = dict(LEGAL[call])
        if deadline:
            legal["DEADLINE_EXCEEDED"] = "DEADLINE_EXCEEDED"
        told = f"{call}: {error.code} {error.reason}"
        if legal.get(error.reason) != error.code:
            self.wrong(f"{told}: {error.message}")
        elif error.code == "RESOURCE_EXHAUSTED" and not error.retry_after_seconds:
            self.wrong(f"{told} does not say when to try again")
        else:
            self.done(call, error.reason)

    def wrong(self, line: str) -> None:
        with self._lock:
            self.wrongs.append(line)


class ChaosClient:
    """One of the many. `run` returns when the time is over and its last call has ended."""

    def __init__(self, server: str, models: list[str], judge: Judge, seed: int) -> None:
        self._server = server
        self._models = models
        self._judge = judge
        self._random = random.Random(seed)

    def run(self, until: float) -> None:
        actions = [self._draw, self._load, self._unload, self._pin, self._rank, self._keep_alive]
        weights = [10, 2, 3, 2, 1, 2]
        try:
            with tightfit.Client(self._server, timeout=HANG_SECONDS, max_attempts=1) as client:
                # Making the connection is not what a short deadline is to cut.
                client.server_info()
                while time.monotonic() < until:
                    self._random.choices(actions, weights)[0](client)
        except Exception as error:
            self._judge.wrong(f"a client ended with {type(error).__name__}: {error}")

    def _model(self) -> str:
        return self._random.choice(self._models)

    def _draw(self, client: tightfit.Client) -> None:
        pick = self._random
        wanted = Wanted(
            self._model(), pick.choice(SEEDS), pick.choice(STEP_COUNTS), pick.choice(IMAGE_COUNTS)
        )
        way = pick.choices(["whole", "after events", "at a time", "deadline"], [4, 2, 2, 2])[0]
        event_count = pick.randint(1, 8) if way == "after events" else 0
        deadline = way == "deadline"
        stream = client.stream(
            PROMPT,
            timeout=SHORT_DEADLINE_SECONDS if deadline else None,
            **parameters_of(wanted),
        )
        cutter = None
        if way == "at a time":
            cutter = threading.Timer(pick.uniform(0, 0.5), stream.close)
            cutter.start()
        try:
            self._follow(stream, wanted, event_count)
        except tightfit.RequestCancelledError as error:
            if cutter is not None and error.code == "CANCELLED":
                self._judge.done("draw", "cut at a time")
            else:
                self._judge.refused("draw", error)
        except tightfit.TightfitError as error:
            self._judge.refused("draw", error, deadline)
        finally:
            if cutter is not None:
                cutter.cancel()
            stream.close()

    def _follow(self, stream: tightfit.ImageStream, wanted: Wanted, event_count: int) -> None:
        image_count = 0
        for number, event in enumerate(stream, 1):
            if isinstance(event, tightfit.Started) and event.parameters.model != wanted.model:
                self._judge.wrong(f"{wanted}: drawn by {event.parameters.model}")
            if isinstance(event, tightfit.ImageReady):
                image = event.image
                self._judge.image(wanted, image.index, image.seed, image.png)
                image_count += 1
            if number == event_count:
                self._judge.done("draw", "cut after events")
                return
        self._judge.finished_with(wanted, image_count)

    def _load(self, client: tightfit.Client) -> None:
        deadline = self._random.random() < 0.3
        model = self._model()
        try:
            client.load_model(model, timeout=SHORT_DEADLINE_SECONDS if deadline else None)
            self._judge.done("load")
        except tightfit.TightfitError as error:
            self._judge.refused("load", error, deadline)

    def _unload(self, client: tightfit.Client) -> None:
        force = self._random.random() < 0.5
        call = "unload by force" if force else "unload"
        model = self._model()
        try:
            client.unload_model(model, force=force)
            self._judge.done(call)
        except tightfit.TightfitError as error:
            self._judge.refused(call, error)

    def _update(self, client: tightfit.Client, **settings: object) -> None:
        try:
            client.update_model(self._model(), **settings)
            self._judge.done("update")
        except tightfit.TightfitError as error:
            self._judge.refused("update", error)

    def _pin(self, client: tightfit.Client) -> None:
        # Seldom, or sooner or later two are pinned and the others are refused for the rest.
        self._update(client, pinned=self._random.random() < 0.2)

    def _rank(self, client: tightfit.Client) -> None:
        self._update(client, priority=self._random.choice((-1000, 0, 1000)))

    def _keep_alive(self, client: tightfit.Client) -> None:
        self._update(client, keep_alive_seconds=self._random.uniform(0, 0.1))


def run_clients(
    server: str, models: list[str], judge: Judge, seed: int, client_count: int, seconds: float
) -> None:
    until = time.monotonic() + seconds
    threads = [
        threading.Thread(
            target=ChaosClient(server, models, judge, seed * 1000 + number).run,
            args=(until,),
            name=f"chaos-{number}",
            daemon=True,
        )
        for number in range(client_count)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()) + 2 * HANG_SECONDS)
        if thread.is_alive():
            judge.wrong(f"{thread.name} hangs")


def left_over(metrics: str) -> list[str]:
    """Series that count requests and are not zero."""
    families = ("tightfit_queue_depth", "tightfit_running_requests", "tightfit_inflight_requests")
    found = []
    for family in families:
        values = metric_values(metrics, family)
        if not values:
            found.append(f"{family} is missing")
        found += [f"{family}{dict(labels)} is {v}" for labels, v in values.items() if v]
    return found


def ledger(metrics: str) -> dict[frozenset[tuple[str, str]], float]:
    """What is set aside, without series of nothing: they come with a model's first load."""
    values = metric_values(metrics, "tightfit_device_memory_reserved_bytes")
    return {labels: value for labels, value in values.items() if value}


def error_lines(log: str) -> list[str]:
    """Lines of a JSON log that tell of an error, or that cannot be read."""
    found = []
    for line in log.splitlines():
        try:
            if json.loads(line)["level"] in ("debug", "info", "warning"):
                continue
        except (ValueError, KeyError, TypeError):
            pass
        found.append(line)
    return found
