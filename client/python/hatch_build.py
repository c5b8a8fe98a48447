"""Hatchling's hook: a wheel is built with stubs that are made of the contract at that moment."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

sys.path.insert(0, str(Path(__file__).resolve().parent))

import generate_stubs  # noqa: E402


class StubsHook(BuildHookInterface):  # type: ignore[type-arg]
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        # A source distribution has no contract beside it: it carries the stubs themselves.
        if generate_stubs.CONTRACT.is_dir():
            generate_stubs.refresh()
        elif not generate_stubs.STUBS.is_dir():
            raise RuntimeError("build the package in a checkout of tightfit: it needs proto/")
