"""Runs a bundle dry in a bare Debian: Python, the torch wheel of this machine, no network."""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "deploy" / "container"))

import image_check  # noqa: E402
import stage_root  # noqa: E402
from stage_root import Entry, StageError  # noqa: E402

PYTHON_PLACE = "/usr/lib/python3/dist-packages"
LIBRARY_PLACE = "/usr/lib/x86_64-linux-gnu"


def main() -> int:
    parser = argparse.ArgumentParser(prog="bundle_check.sh", description=__doc__)
    parser.add_argument("archive", type=Path)
    parser.add_argument("--work", type=Path, help="keep the bare root here for the next time")
    parser.add_argument("--json", type=Path, default=Path("gpu-bundle.json"))
    options = parser.parse_args()
    try:
        if os.geteuid() != 0:
            raise StageError("debootstrap and chroot need root: run as root")
        with tempfile.TemporaryDirectory(prefix="tightfit-bundle-") as folder:
            work = (options.work or Path(folder)).resolve()
            work.mkdir(parents=True, exist_ok=True)
            return check(options.archive, work, options.json)
    except (StageError, OSError) as error:
        print(f"bundle_check.sh: {error}", file=sys.stderr)
        return 1


def torch_binds() -> dict[str, str]:
    """The wheel, and the libraries that it links to and that lie outside of it and of Debian."""
    (torch,) = (ROOT / ".venv").glob("lib/python3*/site-packages/torch")
    binds = {str(torch.resolve()): f"{PYTHON_PLACE}/torch"}
    if (torch.parent / "nvidia").is_dir():
        binds[str((torch.parent / "nvidia").resolve())] = f"{PYTHON_PLACE}/nvidia"
    command = ["ldd", torch / "lib" / "libtorch_cpu.so"]
    told = subprocess.run(command, capture_output=True, text=True).stdout
    for place in re.findall(r"=> (/\S+)", told):
        if not place.startswith(("/lib/", "/usr/lib/", str(torch.parent))):
            binds[place] = f"{LIBRARY_PLACE}/{Path(place).name}"
    return binds


def check(archive: Path, work: Path, figures: Path) -> int:
    """The exit code of the run. Raises StageError."""
    bare, log = work / "python", work / "bundle.log"
    if not bare.is_dir():
        stage_root.make_debian_root("bookworm", bare, log)
        stage_root.set_apt(bare, settings=True)
        install = "apt-get update && apt-get install -y --no-install-recommends python3"
        network = stage_root.network_entry({"DEBIAN_FRONTEND": "noninteractive"}, "/")
        stage_root.run_in(bare, ["/bin/sh", "-ec", install], network, log)
        stage_root.set_apt(bare, settings=False)
    binds = torch_binds()
    # Places of what is bound: files and folders have to be there.
    for source, target in binds.items():
        place = bare / target.removeprefix("/")
        place.mkdir(exist_ok=True) if Path(source).is_dir() else place.touch()
    out = work / "bundle-run"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    shutil.copy(archive, out / "bundle.tar.xz")
    shutil.copy(ROOT / "tests" / "gpu" / "run_bundle.sh", out)
    # Programs that compile or fetch are not there, and the network has loopback alone.
    command = ["/tmp/run_bundle.sh", "/tmp/bundle.tar.xz", "--dry-run", "--json", "/tmp/run.json"]
    # Where others use the processors, a CPU takes longer than a GPU's eight minutes.
    command += ["--seconds", "1800"]
    with image_check.own_network() as namespace:
        entry = Entry(folder="/tmp", binds={**binds, str(out): "/tmp"}, namespace=namespace)
        code = subprocess.run(stage_root.command_in(bare, command, entry)).returncode
    told = json.loads((out / "run.json").read_text())
    figures.write_text(json.dumps(told, indent=1) + "\n")
    print(f"{figures}: {told['seconds']} s, archive of {archive.stat().st_size / 1e6:.1f} MB")
    return code


if __name__ == "__main__":
    sys.exit(main())
