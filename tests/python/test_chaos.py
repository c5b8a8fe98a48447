"""Ten clients do everything at once under a limit that holds one model of four: every image is the
one that a quiet server draws, every refusal is one that may be, and nothing is left over.

Six seconds; a minute with TIGHTFIT_FULL=1, as tests/run.sh --full has it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from chaos import (
    HANG_SECONDS,
    PROMPT,
    Judge,
    Reference,
    Wanted,
    draw_reference,
    error_lines,
    ledger,
    left_over,
    parameters_of,
    run_clients,
)
from client_sides import tightfit
from emoji_model import MODEL
from server_process import ServerProcess

FULL = os.environ.get("TIGHTFIT_FULL") == "1"
SECONDS = 60.0 if FULL else 6.0
CLIENT_COUNT = 10
SEED = 20261130
# One model with its requests at a time, and a bit.
LIMIT_MIB = 70
MODELS = ["hf8", "e2m5r", "nf4", "hf12"]
SPECS = [f"{name}={MODEL},format={name},preload=false" for name in MODELS]


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    with ServerProcess(tmp_path_factory.mktemp("quiet"), SPECS) as quiet:
        return draw_reference(quiet.address, MODELS)


def until_true(holds: Callable[[], bool], seconds: float = 30) -> bool:
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


def draw_each_and_unload(client: tightfit.Client, judge: Judge) -> None:
    for model in MODELS:
        wanted = Wanted(model, seed=1, step_count=1, image_count=1)
        [image] = client.generate(PROMPT, **parameters_of(wanted)).images
        judge.image(wanted, image.index, image.seed, image.png)
        client.unload_model(model)


def test_every_answer_is_right_and_nothing_is_left_over(
    reference: Reference, tmp_path: Path
) -> None:
    judge = Judge(reference)
    flags = ["--memory-limit-mib", str(LIMIT_MIB), "--log-format", "json"]
    with ServerProcess(tmp_path, SPECS, *flags) as server:
        with tightfit.Client(server.address, timeout=HANG_SECONDS) as client:
            draw_each_and_unload(client, judge)
            at_start = ledger(server.metrics())
            judge.counts.clear()
            judge.drawn_by_model.clear()

            run_clients(server.address, MODELS, judge, SEED, CLIENT_COUNT, SECONDS)
            told = dict(sorted(judge.counts.items()))
            by_model = dict(judge.drawn_by_model)
            print(f"seed {SEED}, {SECONDS:.0f} s: {told}, images by model: {by_model}")

            assert judge.wrongs == []
            assert until_true(lambda: left_over(server.metrics()) == []), server.metrics()
            for model in MODELS:
                client.update_model(model, pinned=False, keep_alive_seconds=0, priority=0)
                client.unload_model(model)
            draw_each_and_unload(client, judge)
        assert judge.wrongs == []
        assert ledger(server.metrics()) == at_start
        assert server.stop() == 0
    assert error_lines(server.log) == []
    assert judge.counts["image: right"] > len(MODELS)
    if FULL:
        assert set(by_model) == set(MODELS)
        for outcome in ("draw: PREEMPTED", "draw: DEADLINE_EXCEEDED", "draw: cut at a time"):
            assert told.get(outcome), f"no {outcome}: the clients did not do what they are for"


ONE = Wanted("hf8", seed=1, step_count=1, image_count=2)
IMAGES = {ONE: (b"first", b"second")}

WRONG_ANSWERS: dict[str, Callable[[Judge], None]] = {
    "another image": lambda judge: judge.image(ONE, 0, 1, b"firsT"),
    "the request's other image": lambda judge: judge.image(ONE, 0, 1, b"second"),
    "an image too many": lambda judge: judge.image(ONE, 2, 3, b"second"),
    "an image under another seed": lambda judge: judge.image(ONE, 1, 1, b"second"),
    "an image too few": lambda judge: judge.finished_with(ONE, 1),
    "an inner error": lambda judge: judge.refused(
        "draw", tightfit.ServerError("it failed", reason="INTERNAL")
    ),
    "a failed model": lambda judge: judge.refused(
        "draw", tightfit.ModelFailedError("failed", reason="MODEL_FAILED")
    ),
    "a deadline that nobody gave": lambda judge: judge.refused(
        "draw", tightfit.DeadlineExceededError("late", reason="DEADLINE_EXCEEDED")
    ),
    "a cut that nobody made": lambda judge: judge.refused(
        "draw", tightfit.RequestCancelledError("cut", reason="CANCELLED")
    ),
    "a lost connection": lambda judge: judge.refused(
        "load", tightfit.ConnectionLostError("lost", reason="CONNECTION_LOST")
    ),
    "room that others hold, for a draw": lambda judge: judge.refused(
        "draw", tightfit.ServerBusyError("busy", reason="VRAM_BUSY", retry_after_seconds=1.0)
    ),
    "a full queue that does not say for how long": lambda judge: judge.refused(
        "draw", tightfit.ServerBusyError("full", reason="QUEUE_FULL")
    ),
    "a right reason with a wrong code": lambda judge: judge.refused(
        "draw", tightfit.ServerError("gone", reason="PREEMPTED")
    ),
    "a pin that force does not break": lambda judge: judge.refused(
        "unload by force", tightfit.ModelFailedError("pinned", reason="MODEL_PINNED")
    ),
}


@pytest.mark.parametrize("case", WRONG_ANSWERS)
def test_the_judge_notices(case: str) -> None:
    judge = Judge(IMAGES)
    WRONG_ANSWERS[case](judge)
    assert len(judge.wrongs) == 1 and not judge.counts


def test_the_judge_lets_right_answers_pass() -> None:
    judge = Judge(IMAGES)
    judge.image(ONE, 0, 1, b"first")
    judge.image(ONE, 1, 2, b"second")
    judge.finished_with(ONE, 2)
    late = tightfit.DeadlineExceededError("late", reason="DEADLINE_EXCEEDED")
    judge.refused("draw", late, deadline=True)
    full = tightfit.ServerBusyError("full", reason="QUEUE_FULL", retry_after_seconds=1.0)
    judge.refused("load", full)
    assert judge.wrongs == [] and sum(judge.counts.values()) == 5


METRICS = """tightfit_queue_depth 0
tightfit_running_requests 0
tightfit_inflight_requests{method="StreamImages"} 0
"""


def test_what_is_left_over_is_noticed() -> None:
    assert left_over(METRICS) == []
    assert len(left_over(METRICS.replace("depth 0", "depth 1"))) == 1
    assert len(left_over(METRICS.replace('"} 0', '"} 2'))) == 1
    assert len(left_over("")) == 3
    held = 'tightfit_device_memory_reserved_bytes{owner="hf8",purpose="weights"} '
    assert ledger(held + "0") == {} != ledger(held + "1")


def test_error_lines_are_noticed() -> None:
    good = '{"time":"t","level":"warning","event":"x"}'
    bad = ['{"time":"t","level":"error","event":"x"}', "terminate called", "[]"]
    assert error_lines("\n".join([good, *bad])) == bad
