"""Installs a .deb into a bare Debian, serves an image from it as the service would, removes it."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "deploy" / "container"))

import image_check  # noqa: E402
import stage_root  # noqa: E402
from image_build import ImageSettings, say  # noqa: E402
from stage_root import StageError  # noqa: E402

SUITE = "bookworm"
MODEL = ROOT / "deploy" / "models" / "emoji-xl" / "model"
# Of the package alone: nothing else puts something there.
OWN_PLACES = ("usr/lib/tightfit", "usr/bin/tightfit-server", "etc/tightfit")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="package_check.sh", description=__doc__)
    parser.add_argument("package", type=Path, metavar="FILE.deb")
    parser.add_argument("--work", type=Path, help="keep the bare root here for the next time")
    parser.add_argument("--image", type=Path, default=ROOT / "out" / "package.png")
    options = parser.parse_args(arguments)
    try:
        if os.geteuid() != 0:
            raise StageError("debootstrap and chroot need root: run as root")
        if missing := [tool for tool in stage_root.TOOLS if shutil.which(tool) is None]:
            raise StageError(f"{', '.join(missing)} missing: run deploy/install.sh --tests")
        if not options.package.is_file():
            raise StageError(f"{options.package}: no such file; deploy/package_deb.sh makes one")
        with tempfile.TemporaryDirectory(prefix="tightfit-package-") as folder:
            work = options.work or Path(folder)
            work.mkdir(parents=True, exist_ok=True)
            check(options.package, work.resolve(), options.image)
    except (StageError, OSError) as error:
        print(f"package_check.sh: {error}", file=sys.stderr)
        return 1
    return 0


def check(package: Path, work: Path, image: Path) -> None:
    """Raises StageError where anything is not as a package must be."""
    began = time.monotonic()
    bare, root, log = work / "bare", work / "package-root", work / "package.log"
    if not bare.is_dir():
        say(f"making a bare Debian ({SUITE})")
        stage_root.make_debian_root(SUITE, bare, log)
    shutil.rmtree(root, ignore_errors=True)
    # cp knows what devices are.
    subprocess.run(["cp", "-a", "--reflink=auto", str(bare), str(root)], check=True)
    shutil.copy(package, root / "tightfit.deb")
    before = stage_root.size_bytes(root)
    say("installing it with apt")
    _apt(root, log, "apt-get update && apt-get install -y --no-install-recommends /tightfit.deb")
    say(f"with the packages that it needs: {(stage_root.size_bytes(root) - before) / 1e6:.0f} MB")
    command = _service_command(root)
    say("serving an image from it, as a user of its own, its root read-only")
    (root / "models").mkdir()
    settings = ImageSettings(
        user="10001:10001",
        # What the service starts, reached from outside as the check does.
        entrypoint=[*command, "--listen", "0.0.0.0:50051", "--metrics-listen", "0.0.0.0:9400"]
        + ["--allow-plaintext", "--device", "cpu"],
        health_check=["tightfit", "info", "--json"],
    )
    # The example's model is not there; the check serves its own under another name.
    _remove_models(root / "etc" / "tightfit" / "tightfit.toml")
    served = image_check.serve_image(
        root, settings, MODEL, work, image, libraries="/usr/lib/tightfit"
    )
    say(", ".join(served.version.splitlines()))
    say(f"{served.image}: served by user {served.user}, ready {served.start_seconds:.1f} s")
    _apt(root, log, "apt-get purge -y tightfit")
    if left := [place for place in OWN_PLACES if (root / place).exists()]:
        raise StageError(f"purging it leaves {', '.join(left)}")
    say(f"installed, served and purged in {time.monotonic() - began:.0f} s")
    shutil.rmtree(root)


def _apt(root: Path, log: Path, command: str) -> None:
    stage_root.set_apt(root, settings=True)
    entry = stage_root.network_entry({"DEBIAN_FRONTEND": "noninteractive"}, "/")
    stage_root.run_in(root, ["/bin/sh", "-ec", command], entry, log)
    stage_root.set_apt(root, settings=False)


def _service_command(root: Path) -> list[str]:
    unit = (root / "usr/lib/systemd/system/tightfit.service").read_text("utf-8")
    starts = [line for line in unit.splitlines() if line.startswith("ExecStart=")]
    if len(starts) != 1:
        raise StageError(f"the unit has {len(starts)} ExecStart")
    command = starts[0].removeprefix("ExecStart=").split()
    if missing := [word for word in command if word[0] == "/" and not (root / word[1:]).exists()]:
        raise StageError(f"the unit names {', '.join(missing)}, which the package has not")
    return command


def _remove_models(settings: Path) -> None:
    """Takes the example's models out, as whoever installs it replaces them by their own."""
    text = settings.read_text("utf-8")
    settings.write_text(text[: text.index("\n[[model]]")] + "\n", "utf-8")


if __name__ == "__main__":
    sys.exit(main())
