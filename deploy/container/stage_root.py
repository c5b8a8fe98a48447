"""Root file systems that stand for images: made by debootstrap, entered by namespaces and chroot.

Needs root, util-linux and debootstrap; what runs inside sees the root, /proc, /dev and the network.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

TOOLS = ("debootstrap", "unshare", "nsenter", "chroot", "mount", "mountpoint", "ip")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# What a machine's own network settings are made of; passed on while an image is built.
_NETWORK = re.compile(
    r"(?i)(https?_proxy|no_proxy|PIP_(INDEX_URL|EXTRA_INDEX_URL|TRUSTED_HOST|DEFAULT_TIMEOUT))"
)
_CERTIFICATES = ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
_APT_SETTINGS = re.compile(r"Acquire::(https?::Proxy\b|Check-(Valid-Until|Date) )")
_APT_FILE = "etc/apt/apt.conf.d/99build-machine"

# debian:*-slim leaves these out of packages.
_SLIM = ["/usr/share/doc/*", "/usr/share/man/*", "/usr/share/info/*", "/usr/share/locale/*"]
_SLIM_KEPT = "/usr/share/doc/*/copyright"

# $1: the root, $2: 1 for a root that cannot be written, then SOURCE TARGET pairs, --, the command.
# All mounts are those of a namespace that ends with the command: what deletes a root sees none.
# A target that the root lacks gets an empty file system for its parent.
_ENTER = r"""
root=$1 read_only=$2; shift 2
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
[ "$read_only" = 1 ] || mount -t tmpfs -o mode=755 tmpfs "$root/run"
while [ "$1" != -- ]; do
  if [ ! -e "$root$2" ]; then
    mountpoint -q "$root${2%/*}" || mount -t tmpfs -o mode=755 tmpfs "$root${2%/*}"
    if [ -d "$1" ]; then mkdir "$root$2"; else : > "$root$2"; fi
  fi
  mount --rbind "$1" "$root$2"
  shift 2
done
shift
[ "$read_only" = 0 ] || mount -o remount,bind,ro "$root"
exec chroot "$root" "$@"
"""


class StageError(Exception):
    """One line for people."""


@dataclass(frozen=True)
class Entry:
    """How a root is entered.

    binds: place outside -> place inside; user: "uid:gid", None: root with all capabilities
    namespace: file of a network namespace; None: the machine's network
    """

    environment: Mapping[str, str] = field(default_factory=dict)
    folder: str = "/"
    user: str | None = None
    read_only: bool = False
    binds: Mapping[str, str] = field(default_factory=dict)
    namespace: str | None = None


def command_in(root: Path, command: Sequence[str], entry: Entry) -> list[str]:
    """The command of this machine that runs `command` as first process inside `root`."""
    outside = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private"]
    if entry.namespace is not None:
        outside = ["nsenter", f"--net={entry.namespace}", *outside]
    binds = [place for pair in entry.binds.items() for place in pair]
    enter = ["sh", "-euc", _ENTER, "sh", str(root), str(int(entry.read_only)), *binds, "--"]
    inside = ["/usr/bin/env", "-i", f"--chdir={entry.folder}"]
    inside += [f"{name}={value}" for name, value in {"PATH": _PATH, **entry.environment}.items()]
    if entry.user is not None:
        uid, _, gid = entry.user.partition(":")
        limits = ["--clear-groups", "--bounding-set=-all", "--no-new-privs"]
        inside = ["/usr/bin/setpriv", f"--reuid={uid}", f"--regid={gid or uid}", *limits, *inside]
    return [*outside, *enter, *inside, *command]


def run_in(root: Path, command: Sequence[str], entry: Entry, log: Path) -> None:
    """Raises StageError with the end of its output, which is added to `log`."""
    with log.open("ab") as file:
        start = file.tell()
        done = subprocess.run(
            command_in(root, command, entry),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    if done.returncode != 0:
        with log.open("rb") as file:
            file.seek(start)
            told = file.read().decode("utf-8", "replace")[-3000:]
        raise StageError(f"exit code {done.returncode}; the end of {log}:\n{told}")


def network_entry(environment: Mapping[str, str], folder: str) -> Entry:
    """For building: the machine's names, proxies and certificates, none of which stays behind."""
    binds = {"/etc/resolv.conf": "/etc/resolv.conf", "/etc/hosts": "/etc/hosts"}
    passed = {name: value for name, value in os.environ.items() if _NETWORK.fullmatch(name)}
    for name in _CERTIFICATES:
        if (file := os.environ.get(name)) and Path(file).is_file():
            inside = f"/run/{name.lower()}.crt"
            binds[str(Path(file).resolve())] = inside
            passed[name] = inside
    return Entry(environment={**passed, **environment}, folder=folder, binds=binds)


def make_debian_root(suite: str, root: Path, log: Path) -> None:
    """`root` as the image debian:SUITE-slim has it, from the machine's own mirror.

    Raises StageError.
    """
    mirrors = _mirrors(suite)
    part = root.with_name(f"{root.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    mirror = [mirrors[suite]] if suite in mirrors else []
    with log.open("ab") as file:
        command = ["debootstrap", "--variant=minbase", suite, str(part), *mirror]
        done = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT)
    if done.returncode != 0:
        raise StageError(f"debootstrap failed; {log} and {part}/debootstrap tell why")
    sources = [f"deb {uri} {name} main\n" for name, uri in mirrors.items()]
    if sources:
        (part / "etc/apt/sources.list").write_text("".join(sources), "utf-8")
    excludes = [f"path-exclude {each}\n" for each in _SLIM] + [f"path-include {_SLIM_KEPT}\n"]
    (part / "etc/dpkg/dpkg.cfg.d/slim").write_text("".join(excludes), "utf-8")
    shutil.rmtree(part / "var/log")
    (part / "var/log").mkdir()
    for pattern in ("usr/share/man", "usr/share/info", "usr/share/locale", "var/lib/apt/lists"):
        shutil.rmtree(part / pattern, ignore_errors=True)
        (part / pattern).mkdir()
    for document in (part / "usr/share/doc").rglob("*"):
        if not document.is_dir() and document.name != "copyright":
            document.unlink()
    for archive in (part / "var/cache/apt").rglob("*"):
        if not archive.is_dir():
            archive.unlink()
    for name in ("etc/resolv.conf", "etc/hosts", "etc/hostname"):
        (part / name).write_text("", "utf-8")
    part.rename(root)


def set_apt(root: Path, settings: bool) -> None:
    """With or without what the machine's apt needs to reach its mirror."""
    file = root / _APT_FILE
    file.unlink(missing_ok=True)
    if settings and shutil.which("apt-config"):
        dumped = subprocess.run(["apt-config", "dump"], capture_output=True, text=True).stdout
        kept = [line for line in dumped.splitlines() if _APT_SETTINGS.match(line)]
        file.write_text("".join(f"{line}\n" for line in kept), "utf-8")


def _mirrors(suite: str) -> dict[str, str]:
    """Suite, updates and security -> where the machine's apt gets them; empty without apt."""
    if shutil.which("apt-get") is None:
        return {}
    command = ["apt-get", "indextargets", "--format", "$(ORIGIN) $(RELEASE) $(REPO_URI)"]
    lines = subprocess.run(command, capture_output=True, text=True).stdout.splitlines()
    found = {}
    for line in lines:
        origin, _, rest = line.partition(" ")
        release, _, uri = rest.partition(" ")
        wanted = (suite, f"{suite}-updates", f"{suite}-security")
        if origin == "Debian" and release in wanted:
            found[release] = uri
    return found


def size_bytes(root: Path) -> int:
    """What the files hold, each once, as an image's layers count them."""
    seen = set()
    total = 0
    for folder, _, names in os.walk(root):
        for name in names:
            status = os.lstat(Path(folder) / name)
            if (status.st_dev, status.st_ino) not in seen:
                seen.add((status.st_dev, status.st_ino))
                total += status.st_size
    return total
