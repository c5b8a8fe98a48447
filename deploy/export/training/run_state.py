"""What a training run keeps: checkpoints that survive a stop, a learning rate, and progress."""

from __future__ import annotations

import json
import math
import os
import time
from pathlib import Path
from typing import Any

import torch


class Checkpoint:
    """One file that always holds a whole state: written beside, then renamed."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def save(self, state: dict[str, Any]) -> None:
        partial = self.path.with_suffix(".partial")
        torch.save(state, partial)
        os.replace(partial, self.path)

    def load(self) -> dict[str, Any] | None:
        if not self.path.is_file():
            return None
        return torch.load(self.path, map_location="cpu", weights_only=True)


def learning_rate(peak: float, step: int, step_count: int, warmup: int, flat: float) -> float:
    """Linear warm-up, flat for the share `flat` of the run, then a cosine down to 2 % of `peak`.

    A function of the step alone, so a run that goes on with another `step_count` stays sane.
    """
    if step < warmup:
        return peak * (step + 1) / warmup
    position = max(0.0, step / step_count - flat) / (1.0 - flat)
    return peak * (0.02 + 0.98 * 0.5 * (1.0 + math.cos(math.pi * min(1.0, position))))


class TrainingLog:
    """A line every `interval_seconds` with the loss, the speed and the time left; and log.jsonl."""

    def __init__(self, stage: str, folder: Path, step_count: int, interval_seconds: float = 20.0):
        self._stage = stage
        self._path = folder / "log.jsonl"
        self._step_count = step_count
        self._interval_seconds = interval_seconds
        self._since = time.monotonic()
        self._first: tuple[int, float] | None = None
        self._sums: dict[str, float] = {}
        self._count = 0

    def step(self, step: int, sample_count: int, values: dict[str, float]) -> None:
        """Called after each step, `step` counted from 1."""
        now = time.monotonic()
        if self._first is None:
            self._first = (step, now)
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._count += 1
        if now - self._since < self._interval_seconds and step < self._step_count:
            return
        means = {name: total / self._count for name, total in self._sums.items()}
        seconds = now - self._since
        rate = self._count * sample_count / seconds
        done, started = self._first
        left = (self._step_count - step) * (now - started) / max(1, step - done)
        text = "  ".join(f"{name} {value:.4g}" for name, value in means.items())
        print(
            f"{self._stage} {step}/{self._step_count}  {text}  {rate:.1f} samples/s  "
            f"{_duration(left)} left",
            flush=True,
        )
        with self._path.open("a", encoding="utf-8") as file:
            record = {"stage": self._stage, "step": step, "seconds": seconds, **means}
            file.write(json.dumps(record) + "\n")
        self._since, self._sums, self._count = now, {}, 0


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"
