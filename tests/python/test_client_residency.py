"""Both clients bring models to the device, send them off, and ask what a request would take."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from client_sides import SIDES, Side, tightfit
from emoji_model import EMOJI
from server_process import ServerProcess


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    model = EMOJI + ",preload=false"
    with ServerProcess(tmp_path_factory.mktemp("server"), [model]) as running:
        yield running


@pytest.fixture(params=SIDES.values(), ids=SIDES)
def side(request: pytest.FixtureRequest) -> Side:
    return request.param


def test_a_model_comes_stays_and_goes(server: ServerProcess, side: Side) -> None:
    (declared,) = side.call(server.address, "models")
    name = declared.name
    assert declared.state is tightfit.ModelState.UNLOADED and declared.weight_bytes > 0
    loaded = side.call(server.address, "load_model", name)
    assert loaded.state is tightfit.ModelState.RESIDENT and loaded.state_reason == "LoadModel"
    settings = {"pinned": True, "keep_alive_seconds": 1.5, "priority": -3}
    changed = side.call(server.address, "update_model", name, **settings)
    assert {key: getattr(changed, key) for key in settings} == settings
    unchanged = side.call(server.address, "update_model", name)
    assert {key: getattr(unchanged, key) for key in settings} == settings
    with pytest.raises(tightfit.TightfitError) as refused:
        side.call(server.address, "unload_model", name)
    assert refused.value.reason == "MODEL_PINNED"
    gone = side.call(server.address, "unload_model", name, force=True)
    assert gone.state is tightfit.ModelState.UNLOADED
    plain = {"pinned": False, "keep_alive_seconds": 0, "priority": 0}
    assert side.call(server.address, "update_model", name, **plain).pinned is False
    with pytest.raises(tightfit.InvalidRequestError):
        side.call(server.address, "update_model", name, keep_alive_seconds=float("inf"))
    with pytest.raises(tightfit.NotFoundError):
        side.call(server.address, "load_model", "nobody")


def test_an_estimate_draws_nothing(server: ServerProcess, side: Side, tmp_path: Path) -> None:
    (declared,) = side.call(server.address, "models")
    side.call(server.address, "load_model", declared.name)
    small = side.call(server.address, "estimate", "red apple")
    large = side.call(server.address, "estimate", "red apple", width_px=512, height_px=512)
    assert small.admission is tightfit.Admission.NOW and small.is_measured
    assert large.request_bytes > small.request_bytes > 0
    assert (large.weight_bytes, large.evicted_models) == (0, ())
    assert large.limit_bytes >= large.free_bytes > large.request_bytes
    assert large.parameters.width_px == 512
    with pytest.raises(tightfit.InvalidRequestError):
        side.call(server.address, "estimate", "red apple", width_px=-8)
    side.call(server.address, "unload_model", declared.name)
