"""Completions and manual pages: what a shell offers is what --help lists, no more and no less."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from server_process import BUILD, ROOT

PACKAGING = ROOT / "deploy" / "packaging"
sys.path.insert(0, str(PACKAGING))

import completions  # noqa: E402
import help_text  # noqa: E402

# Each with the words of a command that has options of its own.
COMMANDS = [
    ("tightfit",),
    ("tightfit", "generate"),
    ("tightfit", "models"),
    ("tightfit", "load"),
    ("tightfit", "unload"),
    ("tightfit", "update"),
    ("tightfit", "info"),
    ("tightfit", "fidelity"),
    ("tightfit", "pack"),
    ("tightfit-fidelity",),
    ("tightfit-pack",),
    ("tightfit-server",),
    ("tightfit-weights",),
    ("tightfit-weights", "report"),
    ("tightfit-weights", "formats"),
    ("tightfit-weights", "encode"),
    ("tightfit-weights", "decode"),
]
by_command = pytest.mark.parametrize("words", COMMANDS, ids=" ".join)


def help_of(words: tuple[str, ...]) -> str:
    command = [BUILD / "bin" / words[0], *words[1:], "--help"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def flags_of(text: str) -> set[str]:
    """Long options as a reader of the help finds them: what opens a line two spaces in."""
    return set(re.findall(r"(?m)^  (?:-\w,)?(--[a-z0-9-]+)", text))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("documents")
    subprocess.run([sys.executable, PACKAGING, BUILD / "bin", out], check=True)
    return out


def test_every_command_of_the_programs_is_looked_at() -> None:
    programs = {words[0] for words in COMMANDS}
    for name in programs:
        found = {name} | {f"{name} {word}" for word, _ in help_text.commands_of(help_of((name,)))}
        listed = {" ".join(words) for words in COMMANDS if words[0] == name}
        assert listed >= found - {"tightfit-server token"}


def bash_words(made: Path, typed: list[str]) -> list[str]:
    """What bash would offer for the last word of `typed`."""
    name = typed[0].replace("-", "_")
    script = f"""
        source {shlex.quote(str(made / "bash" / typed[0]))}
        COMP_WORDS=({" ".join(map(shlex.quote, typed))})
        COMP_CWORD={len(typed) - 1}
        _{name} 2>/dev/null
        printf '%s\\n' "${{COMPREPLY[@]}}" """
    done = subprocess.run(
        ["bash", "--norc", "-c", script], capture_output=True, text=True, check=True
    )
    return done.stdout.split()


def fish_words(made: Path, typed: list[str]) -> list[str]:
    file = made / "fish" / f"{typed[0]}.fish"
    asked = " ".join(map(shlex.quote, typed[:-1])) + " " + typed[-1]
    # Only what this file says: fish also knows how to read manual pages.
    script = f"complete -e {typed[0]}; source {shlex.quote(str(file))}; "
    script += f"complete -C {shlex.quote(asked)}"
    done = subprocess.run(
        ["fish", "--no-config", "-c", script], capture_output=True, text=True, check=True
    )
    return [line.split("\t")[0] for line in done.stdout.splitlines()]


def zsh_specs(made: Path, words: tuple[str, ...]) -> str:
    """What the function of a command hands to zsh's _arguments, as zsh reads it."""
    file = made / "zsh" / f"_{words[0]}"
    function = "_" + "_".join(words).replace("-", "_")
    script = f"""
        _arguments() {{ print -rl -- "$@" }}
        _describe() {{ :; }}
        words=(none); source {shlex.quote(str(file))} >/dev/null
        {function}"""
    done = subprocess.run(["zsh", "-f", "-c", script], capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    return done.stdout


def needs(shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"needs {shell}")


@by_command
def test_bash_offers_every_option_of_the_help(made: Path, words: tuple[str, ...]) -> None:
    flags = flags_of(help_of(words))
    assert flags
    offered = bash_words(made, [*words, "--"])
    assert sorted(offered) == sorted(flags)


@by_command
def test_fish_offers_every_option_of_the_help(made: Path, words: tuple[str, ...]) -> None:
    needs("fish")
    assert sorted(fish_words(made, [*words, "--"])) == sorted(flags_of(help_of(words)))


@by_command
def test_zsh_is_given_every_option_of_the_help(made: Path, words: tuple[str, ...]) -> None:
    needs("zsh")
    given = re.findall(r"(?m)^(?:\(.*\))?(--[a-z0-9-]+)\[", zsh_specs(made, words))
    assert sorted(given) == sorted(flags_of(help_of(words)))


def test_commands_and_values_are_offered(made: Path, tmp_path: Path) -> None:
    commands = ["fidelity", "generate", "info", "load", "models", "pack", "unload", "update"]
    assert sorted(bash_words(made, ["tightfit", ""])) == commands
    assert bash_words(made, ["tightfit", "gen"]) == ["generate"]
    spacing = ["tightfit", "generate", "--timestep-spacing"]
    assert bash_words(made, [*spacing, "t"]) == ["trailing"]
    assert bash_words(made, [*spacing, "=", "l"]) == ["leading", "linspace"]
    assert bash_words(made, [*spacing, "="]) == ["leading", "trailing", "linspace"]
    assert bash_words(made, ["tightfit", "generate", "--width", ""]) == []
    (tmp_path / "ca.pem").touch()
    typed = ["tightfit", "info", "--tls-ca", f"{tmp_path}/c"]
    assert bash_words(made, typed) == [f"{tmp_path}/ca.pem"]
    if shutil.which("fish"):
        assert sorted(fish_words(made, ["tightfit", ""])) == commands
        assert fish_words(made, [*spacing, "t"]) == ["trailing"]
    if shutil.which("zsh"):
        assert "(leading trailing linspace)" in zsh_specs(made, ("tightfit", "generate"))


def pages(made: Path) -> Iterator[tuple[tuple[str, ...], Path]]:
    for words in COMMANDS:
        yield words, made / "man" / "man1" / f"{'-'.join(words)}.1"


def test_every_command_has_a_manual_page_with_all_its_options(made: Path) -> None:
    needs("help2man")
    for words, page in pages(made):
        text = page.read_text("utf-8").replace("\\-", "-")
        told = re.sub(r"\\f[BIR]", "", text)
        # roff writes a hyphen that is one with a backslash before it.
        missing = [flag for flag in flags_of(help_of(words)) if flag not in told]
        assert not missing, f"{page.name} lacks {missing}"
        assert text.count(".SH NAME") == 1 and ".SH SYNOPSIS" in text


ODD_HELP = """Does things.
Usage: odd [OPTIONS]

Options:
  -h,--help       Print it
  -o,--out FILE   Where to;
                  below the first line
  --exactly-wide N
                  its left side is as wide as its column
  --to a|b:c|N=3  Its default stands behind it
  --size N=5 Much One space alone between
  --list NAME=PATH[,KEY=VALUE...]
                  A value with marks

Examples:
  odd --no-option   is no option of it
  odd
"""


def test_odd_tables_are_read_right() -> None:
    found = {option.long: option for option in help_text.options_of(ODD_HELP)}
    wanted = ["--help", "--out", "--exactly-wide", "--to", "--size", "--list"]
    assert list(found) == wanted
    out = found["--out"]
    assert (out.short, out.value) == ("-o", "FILE")
    assert out.description == "Where to; below the first line"
    assert out.takes_path and not found["--help"].value
    assert found["--to"].choices == ["a", "b:c"]
    assert found["--exactly-wide"].description == "its left side is as wide as its column"
    assert found["--list"].value == "NAME=PATH[,KEY=VALUE...]"


AWKWARD = help_text.Option("-q", "--quote", "a|b:c", "It's [50 %] of `x` : $HOME \\ \"y\"")


def test_descriptions_are_text_to_every_shell(tmp_path: Path) -> None:
    command = help_text.Command(("odd",), "Odd", (AWKWARD,), ())
    for shell, kind, place in (
        ("bash", completions.bash, "bash/odd"),
        ("zsh", completions.zsh, "zsh/_odd"),
        ("fish", completions.fish, "fish/odd.fish"),
    ):
        file = tmp_path / place
        file.parent.mkdir()
        file.write_text(kind(command), "utf-8")
        if shutil.which(shell):
            subprocess.run([shell, "-n", file], check=True)
    assert bash_words(tmp_path, ["odd", "-"]) == ["-q", "--quote"]
    if shutil.which("fish"):
        assert fish_words(tmp_path, ["odd", "--q"]) == ["--quote"]
    if shutil.which("zsh"):
        [spec] = [line for line in zsh_specs(tmp_path, ("odd",)).splitlines() if "--quote[" in line]
        assert spec.endswith(r"""[It's \[50 %\] of `x` \: $HOME \\ "y"]:a|b\:c:(a b\:c)""")
