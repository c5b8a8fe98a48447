"""Runs the stages of the Dockerfile in root file systems, one instruction after the other."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import stage_root
from build_context import BuildContext
from dockerfile import STEPS, Dockerfile, Instruction, Stage, substitute
from stage_root import StageError

_IMAGE = re.compile(r"debian:([a-z]+)-slim")


@dataclass
class ImageSettings:
    """What an image carries beside its files; `user`: uid:gid."""

    environment: dict[str, str] = field(default_factory=dict)
    folder: str = "/"
    user: str | None = None
    ports: list[str] = field(default_factory=list)
    stop_signal: str = "SIGTERM"
    health_check: list[str] = field(default_factory=list)
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)


def plan(dockerfile: Dockerfile) -> list[dict[str, Any]]:
    """Every instruction that a build runs or reads, in order: what --plan prints."""
    steps: list[dict[str, Any]] = []
    for stage in dockerfile.stages:
        steps.append({"stage": stage.name, "keyword": "FROM", "value": stage.base})
        for each in stage.instructions:
            steps.append({"stage": stage.name, "keyword": each.keyword, "value": each.value})
    return steps


class ImageBuild:
    """Builds all stages below `work`, which keeps a root and what was done in it for each.

    A build that is begun again in the same folder goes on after the last step that is unchanged in
    all it depends on.
    """

    def __init__(
        self,
        dockerfile: Dockerfile,
        context: Path,
        work: Path,
        arguments: Mapping[str, str],
        given: Mapping[str, Path],
        say: Callable[[str], None],
    ) -> None:
        """`given`: folders that stand for the roots of stages, which are then not run."""
        self._dockerfile = dockerfile
        self._context = BuildContext(context)
        self._work = work
        self._arguments = arguments
        self._given = given
        self._say = say
        self.log = work / "build.log"

    def root(self, stage: Stage) -> Path:
        return self._given.get(stage.name, self._work / f"stage-{stage.name}")

    def run(self) -> ImageSettings:
        """Builds every stage; the settings of the last. Raises StageError, FileNotFoundError."""
        settings = ImageSettings()
        for stage in self._dockerfile.stages:
            if stage.name in self._given:
                self._say(f"stage {stage.name}: given, not run")
                continue
            settings = _StageRun(self, stage).run()
        return settings

    # What one stage's run needs of the whole build.
    def base_root(self, stage: Stage) -> Path:
        match = _IMAGE.fullmatch(stage.base)
        if match is None:
            raise StageError(f"FROM {stage.base}: only debian:SUITE-slim can be made here")
        base = self._work / f"base-{match[1]}"
        if not base.is_dir():
            self._say(f"debootstrap {match[1]}")
            stage_root.make_debian_root(match[1], base, self.log)
        return base

    def source(self, each: Instruction) -> BuildContext:
        if "from" not in each.flags:
            return self._context
        (stage,) = (s for s in self._dockerfile.stages if s.name == each.flags["from"])
        return BuildContext(self.root(stage), whole=True)

    def argument(self, text: str) -> tuple[str, str]:
        """Name and value of an ARG: as given to the build, else of the file's top, else its own."""
        name, _, default = text.partition("=")
        return name, self._arguments.get(name, default or self._dockerfile.arguments.get(name, ""))

    def say(self, text: str) -> None:
        self._say(text)


class _StageRun:
    def __init__(self, build: ImageBuild, stage: Stage) -> None:
        self._build = build
        self._stage = stage
        self._root = build.root(stage)
        self._record = self._root.with_name(f"{self._root.name}.json")
        self._settings = ImageSettings()
        self._arguments: dict[str, str] = {}

    def run(self) -> ImageSettings:
        keys = self._keys()
        done = self._done_before(keys)
        stage_root.set_apt(self._root, settings=True)
        for number, each in enumerate(self._stage.instructions):
            if each.keyword not in STEPS or each.keyword == "WORKDIR":
                self._set(each)
            if each.keyword in STEPS and number >= done:
                began = time.monotonic()
                shown = " ".join(each.value.split())
                self._build.say(
                    f"stage {self._stage.name}: {each.keyword} {shown[:90]}"
                    f"{'...' if len(shown) > 90 else ''}"
                )
                try:
                    self._step(each)
                except StageError as error:
                    raise StageError(str(each.error(str(error)))) from error
                self._build.say(f"  {time.monotonic() - began:.0f} s")
            self._record.write_text(json.dumps(keys[: number + 1]), "utf-8")
        stage_root.set_apt(self._root, settings=False)
        return self._settings

    def _keys(self) -> list[str]:
        """One a step: of everything that it and the steps before it depend on."""
        key = self._stage.base
        keys = []
        for each in self._stage.instructions:
            parts = [key, each.keyword, each.value]
            if each.keyword == "COPY":
                parts.append(self._build.source(each).digest(each.words()[:-1]))
            if each.keyword == "ARG":
                parts.append(self._build.argument(each.arguments)[1])
            key = hashlib.sha256("\0".join(parts).encode()).hexdigest()
            keys.append(key)
        return keys

    def _done_before(self, keys: list[str]) -> int:
        """How many steps this root has already; a root that has others is made anew."""
        if self._root.is_dir() and self._record.is_file():
            done: list[str] = json.loads(self._record.read_text("utf-8"))
            if done == keys[: len(done)]:
                return len(done)
        self._record.unlink(missing_ok=True)
        shutil.rmtree(self._root, ignore_errors=True)
        base = self._build.base_root(self._stage)
        subprocess.run(["cp", "-a", "--reflink=auto", str(base), str(self._root)], check=True)
        return 0

    def _environment(self) -> dict[str, str]:
        return {**self._arguments, **self._settings.environment}

    def _set(self, each: Instruction) -> None:
        settings = self._settings
        text = substitute(each.arguments, self._environment())
        if each.keyword == "ARG":
            name, value = self._build.argument(text)
            self._arguments[name] = value
        elif each.keyword == "ENV":
            for word in Instruction(each.line, each.keyword, text, text, {}).words():
                name, _, value = word.partition("=")
                settings.environment[name] = value
        elif each.keyword == "WORKDIR":
            settings.folder = text
        elif each.keyword == "USER":
            settings.user = text
        elif each.keyword == "EXPOSE":
            settings.ports += text.split()
        elif each.keyword == "STOPSIGNAL":
            settings.stop_signal = text
        elif each.keyword == "HEALTHCHECK":
            command = each.arguments.removeprefix("CMD").strip()
            settings.health_check = Instruction(each.line, "CMD", command, command, {}).command()
        elif each.keyword == "ENTRYPOINT":
            settings.entrypoint = each.command()
        elif each.keyword == "CMD":
            settings.command = each.command()

    def _step(self, each: Instruction) -> None:
        if each.keyword == "WORKDIR":
            (self._root / self._settings.folder.lstrip("/")).mkdir(parents=True, exist_ok=True)
        elif each.keyword == "COPY":
            *sources, target = Instruction(
                each.line, "COPY", each.value, substitute(each.arguments, self._environment()), {}
            ).words()
            place = self._root / (Path(self._settings.folder) / target).relative_to("/")
            self._build.source(each).copy(sources, place, into=target.endswith("/"))
        else:
            entry = stage_root.network_entry(self._environment(), self._settings.folder)
            entry = dataclasses.replace(entry, user=self._settings.user)
            stage_root.run_in(self._root, each.command(), entry, self._build.log)


def say(text: str) -> None:
    print(f"== {text}" if not text.startswith(" ") else text, file=sys.stderr, flush=True)
