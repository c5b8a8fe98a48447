"""Completions of a program for bash, zsh and fish, from its option tables."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

from help_text import Command, Option


def bash(program: Command) -> str:
    name = program.words[0]
    function = "_" + name.replace("-", "_")
    steps = "|".join(f'"{_path(each.words[:-1])} {each.words[-1]}"' for each in program.below())
    cases = "\n".join(_bash_case(each) for each in (program, *program.below()))
    walk = f"""\
  for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
    case "$command $word" in
      {steps}) command="${{command:+$command }}$word" ;;
    esac
  done
"""
    return f"""\
# bash completion for {name}, made from its --help
{function}() {{
  local current="${{COMP_WORDS[COMP_CWORD]}}" previous="${{COMP_WORDS[COMP_CWORD-1]}}"
  local word command="" options="" commands=""
  COMPREPLY=()
  # bash takes --option=value apart.
  if [[ $current == "=" ]]; then
    current=""
  elif [[ $previous == "=" ]]; then
    previous="${{COMP_WORDS[COMP_CWORD-2]}}"
  fi
{walk if steps else ""}\
  case "$command" in
{cases}
  esac
  if [[ $current == -* ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$options" -- "$current")
  elif [[ -n $commands ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$commands" -- "$current")
  else
    compopt -o default
  fi
}}
complete -F {function} {name}
"""


def _path(words: tuple[str, ...]) -> str:
    """The commands behind the program's name."""
    return " ".join(words[1:])


def _bash_case(command: Command) -> str:
    names = " ".join(name for option in command.options for name in option.names)
    lines = [f'    "{_path(command.words)}")', f'      options="{names}"']
    if command.commands:
        lines.append(f'      commands="{" ".join(each.words[-1] for each in command.commands)}"')
    arms = []
    for flag, of_kind in (("-f", ("FILE", "PATH")), ("-d", ("DIR",))):
        if names := _names(option for option in command.options if option.value in of_kind):
            fill = f'mapfile -t COMPREPLY < <(compgen {flag} -- "$current")'
            arms.append(f"        {names}) compopt -o filenames; {fill}; return ;;")
    for option in command.options:
        if option.choices:
            fill = f'compgen -W "{" ".join(option.choices)}" -- "$current"'
            arms.append(f"        {_names([option])}) mapfile -t COMPREPLY < <({fill}); return ;;")
    others = (each for each in command.options if each.value and not each.takes_path)
    if names := _names(option for option in others if not option.choices):
        arms.append(f"        {names}) return ;;")
    if arms:
        lines += ['      case "$previous" in', *arms, "      esac"]
    return "\n".join([*lines, "      ;;"])


def _names(options: Iterable[Option]) -> str:
    return "|".join(name for option in options for name in option.names)


def zsh(program: Command) -> str:
    name = program.words[0]
    functions = "\n".join(_zsh_function(each) for each in (*program.below(), program))
    return f"""\
#compdef {name}
# zsh completion for {name}, made from its --help
{functions}
{_zsh_name(program)} "$@"
"""


def _zsh_name(command: Command) -> str:
    return "_" + "_".join(command.words).replace("-", "_")


def _zsh_function(command: Command) -> str:
    specs = [_zsh_option(option) for option in command.options]
    if not command.commands:
        body = " \\\n    ".join(["  _arguments -s -S", *specs, "'*:: :_files'"])
        return f"{_zsh_name(command)}() {{\n{body}\n}}"
    head = ["  _arguments -s -S -C", *specs, "'1: :->command'", "'*:: :->argument'"]
    listed = "\n".join(
        f"      {shlex.quote(each.words[-1] + ':' + each.description)}" for each in command.commands
    )
    arms = "\n".join(f"        {each.words[-1]}) {_zsh_name(each)} ;;" for each in command.commands)
    return f"""\
{_zsh_name(command)}() {{
  local curcontext="$curcontext" state line
  typeset -A opt_args
{(" " + chr(92) + chr(10) + "    ").join(head)}
  case "$state" in
    command)
      local -a commands=(
{listed}
      )
      _describe command commands ;;
    argument)
      case "$words[1]" in
{arms}
      esac ;;
  esac
}}"""


def _zsh_option(option: Option) -> str:
    description = option.description
    for special in "\\[]:":
        description = description.replace(special, "\\" + special)
    value = ""
    if option.value:
        fill = ""
        if option.takes_path:
            fill = "_files -/" if option.value == "DIR" else "_files"
        elif option.choices:
            fill = f"({' '.join(word.replace(':', chr(92) + ':') for word in option.choices)})"
        value = f":{option.value.replace(':', chr(92) + ':')}:{fill}"
    tail = shlex.quote(f"[{description}]{value}")
    if option.short:
        return f"'({option.short} {option.long})'{{{option.short},{option.long}}}{tail}"
    return f"{option.long}{tail}"


def fish(program: Command) -> str:
    lines = [f"# fish completion for {program.words[0]}, made from its --help"]
    for command in (program, *program.below()):
        condition = _fish_condition(command)
        for below in command.commands:
            name, description = below.words[-1], _fish_quote(below.description)
            lines.append(
                f"complete -c {program.words[0]} -n {condition} -f -a {name} -d {description}"
            )
        lines += [_fish_option(program.words[0], condition, each) for each in command.options]
    return "\n".join(lines) + "\n"


def _fish_condition(command: Command) -> str:
    """Holds where all words of the command were typed, and none of the next."""
    typed = [f"__fish_seen_subcommand_from {word}" for word in command.words[1:]]
    if command.commands:
        below = " ".join(each.words[-1] for each in command.commands)
        typed.append(f"not __fish_seen_subcommand_from {below}")
    return shlex.quote("; and ".join(typed) or "true")


def _fish_option(program: str, condition: str, option: Option) -> str:
    words = [f"complete -c {program} -n {condition} -l {option.long.removeprefix('--')}"]
    if option.short:
        words.append(f"-s {option.short.removeprefix('-')}")
    if option.takes_path:
        words.append("-r -F")
    elif option.choices:
        words.append(f"-x -a {shlex.quote(' '.join(option.choices))}")
    elif option.value:
        words.append("-x")
    words.append(f"-d {_fish_quote(option.description)}")
    return " ".join(words)


def _fish_quote(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
