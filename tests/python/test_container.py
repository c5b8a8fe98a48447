"""The image's build: what the Dockerfile says, what the check without Docker runs, and that both
are one. The whole build is deploy/container_check.sh, which tests/run.sh --full runs."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from dockerfile_parse import DockerfileParser
from server_process import BUILD, ROOT, SERVER

CONTAINER = ROOT / "deploy" / "container"
sys.path.insert(0, str(CONTAINER))

import dockerfile  # noqa: E402
import image_build  # noqa: E402
import image_check  # noqa: E402
import stage_root  # noqa: E402
from build_context import BuildContext, IgnoreRules  # noqa: E402

TEXT = (ROOT / "Dockerfile").read_text("utf-8")
FILE = dockerfile.parse(TEXT)
FINAL = {each.keyword: each for each in FILE.stages[-1].instructions}
PROGRAMS = ("tightfit-server", "tightfit", "tightfit-weights")
CHECK = ROOT / "deploy" / "container_check.sh"


def steps_of_another_reader(text: str) -> list[tuple[str, str]]:
    parsed = DockerfileParser(fileobj=io.BytesIO(text.encode())).structure
    return [(e["instruction"], e["value"]) for e in parsed if e["instruction"] != "COMMENT"]


def one_line(value: str) -> str:
    return re.sub(r"\s+", " ", value).strip()


def test_the_checks_steps_are_those_of_the_dockerfile() -> None:
    """Read by a parser that others wrote: a step that the check left out would be missing."""
    done = subprocess.run([CHECK, "--plan"], capture_output=True, text=True, check=True)
    steps = [(step["keyword"], one_line(step["value"])) for step in json.loads(done.stdout)]
    top, *wanted = ((key, one_line(value)) for key, value in steps_of_another_reader(TEXT))
    assert top == ("ARG", "DEBIAN=debian:bookworm-slim")
    image = ("FROM", "debian:bookworm-slim")
    assert steps == [image if keyword == "FROM" else (keyword, v) for keyword, v in wanted]
    assert [k for k, _ in steps].count("RUN") == 4 and [k for k, _ in steps].count("FROM") == 2


def test_the_build_runs_every_step_in_order(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With the commands only written down: what would have run, where, with what around it."""
    ran: list[tuple[str, str, str, dict[str, str]]] = []

    def run_in(root: Path, command: list[str], entry: stage_root.Entry, log: Path) -> None:
        assert command[:2] == ["/bin/sh", "-c"]
        ran.append((root.name, one_line(command[2]), entry.folder, dict(entry.environment)))
        (root / "opt" / "tightfit").mkdir(parents=True, exist_ok=True)
        (root / "opt" / "tightfit" / "made").write_text(root.name)

    monkeypatch.setattr(stage_root, "run_in", run_in)
    monkeypatch.setattr(stage_root, "make_debian_root", lambda suite, root, log: root.mkdir())
    monkeypatch.setattr(stage_root, "set_apt", lambda root, settings: None)
    arguments = {"TIGHTFIT_BUILD_COMMIT": "abc123"}

    def build() -> image_build.ImageSettings:
        ran.clear()
        return image_build.ImageBuild(
            FILE, ROOT, tmp_path, arguments, given={}, say=lambda text: None
        ).run()

    settings = build()
    wanted = [one_line(v) for k, v in steps_of_another_reader(TEXT) if k == "RUN"]
    assert [command for _, command, _, _ in ran] == wanted
    assert [root for root, _, _, _ in ran] == ["stage-build"] * 3 + ["stage-1"]
    assert [folder for _, _, folder, _ in ran] == ["/src"] * 3 + ["/"]
    assert [env.get("TIGHTFIT_BUILD_COMMIT") for _, _, _, env in ran][:2] == [None, "abc123"]
    built = tmp_path / "stage-build" / "src"
    assert (built / "server/app/main.cc").read_bytes() == (ROOT / "server/app/main.cc").read_bytes()
    assert not (built / "tests").exists() and not (built / "client" / "python").exists()
    final = tmp_path / "stage-1"
    assert (final / "opt/tightfit/made").read_text() == "stage-build"
    assert (final / "etc/tightfit/tightfit.toml").is_file()
    assert settings.user == "10001:10001" and settings.entrypoint[0] == "tightfit-server"
    assert settings.health_check[:2] == ["tightfit", "info"]
    # Nothing changed: nothing runs. Another commit: what depends on it runs, and no more.
    build()
    assert ran == []
    arguments["TIGHTFIT_BUILD_COMMIT"] = "def456"
    build()
    assert [env.get("TIGHTFIT_BUILD_COMMIT") for _, _, _, env in ran][1] == "def456"


UNKNOWN = {
    "another instruction": ("STOPSIGNAL SIGTERM", "ONBUILD RUN true", "ONBUILD"),
    "a flag": ("RUN cmake --preset", "RUN --mount=type=cache,target=/x true\nRUN x", "mount"),
    "an archive": ("COPY proto proto", "ADD proto proto", "ADD"),
    "a here-document": ("COPY proto proto", "RUN <<END\ntrue\nEND", "here-document"),
    "an owner": ("COPY proto proto", "COPY --chown=1:1 proto proto", "chown"),
    "a pattern": ("COPY proto proto", "COPY prot* proto", "without patterns"),
    "another stage": ("--from=build", "--from=builder", "no earlier stage"),
    "nothing to continue": ("USER 10001:10001", "USER 10001:10001 \\", "STOPSIGNAL"),
}


@pytest.mark.parametrize("case", UNKNOWN)
def test_a_step_that_the_check_cannot_run_is_an_error_of_it(case: str, tmp_path: Path) -> None:
    was, becomes, wanted = UNKNOWN[case]
    assert TEXT.count(was) == 1
    changed = tmp_path / "Dockerfile"
    changed.write_text(TEXT.replace(was, becomes), "utf-8")
    command = [CHECK, "--plan", "--dockerfile", str(changed)]
    done = subprocess.run(command, capture_output=True, text=True)
    if case == "nothing to continue":  # Docker reads the next line into this one, and so do we
        steps = [step for step in json.loads(done.stdout) if step["keyword"] == "USER"]
        assert wanted in steps[0]["value"]
        return
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
    line = TEXT[: TEXT.index(was)].count("\n") + 1
    assert re.search(rf"Dockerfile:{line}: .*{wanted}", done.stderr), done.stderr


def test_hadolint_finds_nothing_in_the_dockerfile(tmp_path: Path) -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    control = tmp_path / "Dockerfile"
    control.write_text(TEXT.replace("USER 10001:10001", "USER root"), "utf-8")
    assert subprocess.run([hadolint, control], capture_output=True).returncode != 0


IGNORED = {
    "*": {"a": True, "a/b": True},
    "*\n!a": {"a": False, "a/b/c": False, "b": True},
    "*\n!a\na/b": {"a/c": False, "a/b": True, "a/b/c": True},
    "**/x": {"x": True, "a/x": True, "a/b/x/y": True, "ax": False},
    "*.md\n!README.md": {"x.md": True, "README.md": False, "a/x.md": False},
    "# a\n\na?": {"a": False, "ab": True, "abc": False, "# a": False},
    "/a/": {"a": True, "b/a": False},
}


@pytest.mark.parametrize("rules", IGNORED)
def test_dockerignore_is_read_as_docker_reads_it(rules: str) -> None:
    found = {path: IgnoreRules(rules).ignores(path) for path in IGNORED[rules]}
    assert found == IGNORED[rules]


def test_the_context_is_what_the_dockerfile_copies_and_no_more() -> None:
    copied = set()
    for stage in FILE.stages:
        for each in stage.instructions:
            if each.keyword == "COPY" and "from" not in each.flags:
                for source in each.words()[:-1]:
                    copied |= {path for path, _ in BuildContext(ROOT).files(source)}
    names = {str(path.relative_to(ROOT)) for path in copied}
    tracked = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert names <= set(tracked), names - set(tracked)
    assert sum(path.stat().st_size for path in copied) < 5e6


@pytest.fixture(scope="module")
def collected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("patchelf") is None or not SERVER.is_file():
        pytest.skip("needs patchelf and a build")
    out = tmp_path_factory.mktemp("collected") / "tightfit"
    script = CONTAINER / "collect_runtime.sh"
    subprocess.run([script, "cpu", BUILD / "bin", out, *PROGRAMS], check=True)
    return out


def needed(file: Path) -> set[str]:
    """The libraries that a file names itself."""
    told = subprocess.run(["readelf", "-d", file], capture_output=True, text=True).stdout
    return set(re.findall(r"\(NEEDED\).*\[(.*)\]", told))


def test_the_programs_run_with_the_libraries_that_lie_beside_them(collected: Path) -> None:
    for program in PROGRAMS:
        file = collected / "bin" / program
        assert subprocess.run([file, "--version"], capture_output=True).returncode == 0
        told = subprocess.run(["ldd", file], capture_output=True, text=True).stdout
        places = re.findall(r"=> (/\S+)", told)
        strays = [p for p in places if not p.startswith(("/lib/", "/usr/lib/", str(collected)))]
        assert places and not strays and "not found" not in told
    assert {path.name for path in (collected / "licenses").iterdir()} >= {"tightfit", "torch"}


def test_the_images_packages_are_those_that_the_programs_link_to(collected: Path) -> None:
    if shutil.which("dpkg-query") is None:
        pytest.skip("needs Debian's dpkg-query")
    files = [path for part in ("bin", "lib") for path in (collected / part).iterdir()]
    names = set().union(*map(needed, files)) - {path.name for path in files}
    owners = set()
    for name in names:
        told = subprocess.run(["dpkg-query", "-S", f"*-gnu/{name}"], capture_output=True, text=True)
        owners |= {line.split(":")[0] for line in told.stdout.splitlines()}
    command = FINAL["RUN"].arguments
    listed = set(re.findall(r"\bz?lib[\w.+-]+", command.split("&& rm")[0]))
    always_there = {"libc6", "libgcc-s1"}
    assert owners - always_there == listed


def test_the_images_settings_are_those_of_a_confined_server(tmp_path: Path) -> None:
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", FINAL["USER"].arguments)
    assert FINAL["ENTRYPOINT"].command()[0] == "tightfit-server"  # no shell: it gets the signal
    assert FINAL["STOPSIGNAL"].arguments == "SIGTERM"
    assert FINAL["EXPOSE"].words() == ["50051", "9400"]
    config = FINAL["ENTRYPOINT"].command()[2]
    (copied,) = (e for e in FILE.stages[-1].instructions if config in e.arguments.split())
    file = ROOT / copied.words()[0]
    model = f"emoji-xl={ROOT / 'deploy/models/emoji-xl/model'}"
    done = subprocess.run(
        [SERVER, "--config", file, "--model", model, "--check"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    for name, port in (("listen", 50051), ("metrics_listen", 9400)):
        assert f'\n{name} = "0.0.0.0:{port}"\n' in file.read_text("utf-8")
    # Nothing but this line lets it listen there in plain text.
    command = [SERVER, "--config", file, "--model", model, "--allow-plaintext=false", "--check"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 78 and "--allow-plaintext" in done.stderr, done.stderr


def test_the_health_check_is_a_call_that_fails_without_a_server() -> None:
    check = FINAL["HEALTHCHECK"]
    program, *arguments = dockerfile.Instruction(
        check.line, "CMD", "", check.arguments.removeprefix("CMD").strip(), {}
    ).command()
    seconds = [int(word) for word in arguments if word.isdigit()]
    sooner = ["0.3" if word.isdigit() else word for word in arguments]
    command = [BUILD / "bin" / program, *sooner, "--server", "127.0.0.1:1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert done.returncode == 3, done.stderr  # cannot connect; 2 would be wrong usage
    assert sum(seconds) <= int(check.flags["timeout"].removesuffix("s"))


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root")


@needs_root
def test_a_command_in_a_root_is_confined_and_leaves_no_mounts(tmp_path: Path) -> None:
    """In this machine's own root: its mounts are of a namespace that ends with the command."""
    bound = tmp_path / "bound"
    bound.mkdir()
    (bound / "file").write_text("seen")
    entry = stage_root.Entry(
        environment={"GIVEN": "1"},
        user="10001:10001",
        read_only=True,
        binds={str(bound): "/srv/missing"},
    )
    told = """id -u; id -g; grep -E '^(CapBnd|NoNewPrivs)' /proc/self/status; env | sort
        cat /srv/missing/file; touch /usr/x 2>/dev/null || echo refused; echo $$"""
    before = Path("/proc/self/mounts").read_text()
    command = stage_root.command_in(Path("/"), ["/bin/sh", "-c", told], entry)
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\n")
    assert lines[:4] == ["10001", "10001", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1"]
    assert [line.split("=")[0] for line in lines[4:7]] == ["GIVEN", "PATH", "PWD"]
    assert lines[7] == "seenrefused" and lines[8] == "1"
    assert Path("/proc/self/mounts").read_text() == before
    assert [path.name for path in bound.iterdir()] == ["file"] and not Path("/srv/missing").exists()


def test_an_image_that_runs_as_root_is_refused(tmp_path: Path) -> None:
    for user in (None, "0:0", "root"):
        settings = image_build.ImageSettings(user=user)
        with pytest.raises(stage_root.StageError, match="runs as root"):
            image_check.serve_picture(tmp_path, settings, tmp_path, tmp_path, tmp_path / "x.png")


def test_who_is_not_root_is_told_so_in_one_line() -> None:
    if os.geteuid() == 0:
        command = ["setpriv", "--reuid=10001", "--clear-groups", sys.executable, str(CONTAINER)]
    else:
        command = [sys.executable, str(CONTAINER)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.endswith("run as root\n"), done.stderr
    assert done.stderr.count("\n") == 1


def test_a_picture_that_shows_nothing_is_noticed(tmp_path: Path) -> None:
    from PIL import Image

    def png(picture: Any) -> bytes:
        file = io.BytesIO()
        picture.save(file, "PNG")
        return file.getvalue()

    noise = Image.effect_noise((64, 64), 90).convert("RGB")
    image_check.check_picture(png(noise))
    for bad in (png(Image.new("RGB", (64, 64))), png(noise.resize((32, 64))), b"GIF89a" * 9):
        with pytest.raises(stage_root.StageError):
            image_check.check_picture(bad)
