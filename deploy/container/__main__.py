"""Builds and checks the image without Docker; started by deploy/container_check.sh."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import image_check  # noqa: E402
from dockerfile import DockerfileError, read_dockerfile  # noqa: E402
from image_build import ImageBuild, plan, say  # noqa: E402
from stage_root import TOOLS, StageError, size_bytes  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / "deploy" / "models" / "emoji-xl" / "model"


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        dockerfile = read_dockerfile(options.dockerfile)
        if options.plan:
            print(json.dumps(plan(dockerfile), indent=1))
            return 0
        _need_tools()
        if options.work is not None:
            options.work.mkdir(parents=True, exist_ok=True)
            _build_and_serve(options, options.work.resolve())
        else:
            with tempfile.TemporaryDirectory(prefix="tightfit-image-") as folder:
                _build_and_serve(options, Path(folder))
    except (DockerfileError, StageError, OSError) as error:
        print(f"container_check.sh: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("container_check.sh: stopped", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="container_check.sh",
        description="Runs the instructions of the Dockerfile in debootstrap roots, serves a"
        " image from the last one, and tells its size. Needs root, not Docker.",
    )
    parser.add_argument("--dockerfile", type=Path, default=ROOT / "Dockerfile")
    parser.add_argument(
        "--device",
        choices=("cuda", "cpu"),
        default="cuda",
        help="the Dockerfile's TIGHTFIT_DEVICE: with CUDA's libraries, or a tenth of the size",
    )
    parser.add_argument("--plan", action="store_true", help="print the steps as JSON, run nothing")
    parser.add_argument(
        "--work", type=Path, help="keep the roots here, and go on from what is there"
    )
    parser.add_argument(
        "--given",
        action="append",
        default=[],
        metavar="STAGE=DIR",
        help="take DIR for the root of a stage instead of running it",
    )
    parser.add_argument(
        "--image", type=Path, default=ROOT / "out" / "container.png", help="where it is put"
    )
    return parser


def _need_tools() -> None:
    if os.geteuid() != 0:
        raise StageError("debootstrap and chroot need root: run as root")
    if missing := [tool for tool in TOOLS if shutil.which(tool) is None]:
        raise StageError(f"{', '.join(missing)} missing: run deploy/install.sh --tests")


def _build_and_serve(options: argparse.Namespace, work: Path) -> None:
    began = time.monotonic()
    given = {name: Path(place).resolve() for name, _, place in map(_pair, options.given)}
    commit = subprocess.run(
        ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
        capture_output=True,
        text=True,
    ).stdout.strip()
    arguments = {"TIGHTFIT_BUILD_COMMIT": commit, "TIGHTFIT_DEVICE": options.device}
    dockerfile = read_dockerfile(options.dockerfile)
    build = ImageBuild(dockerfile, ROOT, work, arguments, given, say)
    settings = build.run()
    root = build.root(dockerfile.stages[-1])
    built = time.monotonic() - began
    say("serving an image from it, as a user of its own, its root read-only")
    served = image_check.serve_image(root, settings, MODEL, work, options.image)
    if commit not in served.version and not given:
        raise StageError(f"the image holds {served.version}, not commit {commit}")
    parts = {
        "Debian 12": size_bytes(root) - size_bytes(root / "opt" / "tightfit"),
        "libraries": size_bytes(root / "opt" / "tightfit" / "lib"),
        "programs": size_bytes(root / "opt" / "tightfit" / "bin"),
    }
    shown = ", ".join(f"{name} {size / 1e6:.0f} MB" for name, size in parts.items())
    say(f"the final image: {size_bytes(root) / 1e6:.0f} MB ({shown})")
    say(", ".join(served.version.splitlines()))
    say(
        f"{served.image}: served by user {served.user}; ready {served.start_seconds:.1f} s after"
        f" the start, stopped {served.stop_seconds:.1f} s after {settings.stop_signal}"
    )
    say(f"{time.monotonic() - began:.0f} s in all, {built:.0f} of them to build")


def _pair(text: str) -> tuple[str, str, str]:
    name, equals, place = text.partition("=")
    if not equals or not Path(place).is_dir():
        raise StageError(f"--given {text}: STAGE=DIR with a folder that is there")
    return name, equals, place


if __name__ == "__main__":
    sys.exit(main())
