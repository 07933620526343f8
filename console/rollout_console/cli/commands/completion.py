"""``completion``: a shell's completion script, made from the parser by shtab.

Commands and options are in the script; the names of routes and orgs are looked up in the rollout
file at each press of the tab key.
"""

import re
import sys
from argparse import ArgumentParser, Namespace, _SubParsersAction
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rollout_console.cli.exit_codes import DONE, USAGE
from rollout_gate.file.errors import RolloutError
from rollout_gate.file.parse import parse
from rollout_gate.file.read import read_file

_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@:+-]*")
"""bash's ``compgen -W`` expands words, ``$(...)`` in them too: other names are not offered."""

_PREAMBLE = {
    "bash": r"""
_rollout_console_names() {
  local i file=()
  for ((i = 1; i < COMP_CWORD; i++)); do
    case ${COMP_WORDS[i]} in -f | --file) file=(-f "${COMP_WORDS[i + 1]/#\~/$HOME}") ;; esac
  done
  compgen -W "$(rollout-console "${file[@]}" completion --names $2 \
    "${COMP_WORDS[@]:0:COMP_CWORD}" 2>/dev/null)" -- "$1"
}
_rollout_console_routes() { _rollout_console_names "$1" routes; }
_rollout_console_orgs() { _rollout_console_names "$1" orgs; }
""",
    "zsh": r"""
_rollout_console_names() {
  local i
  local -a file line=(${(Q)${(z)BUFFER}})  # $words lacks what stands before the command
  for ((i = 2; i < ${#line}; i++)); do
    case ${line[i]} in -f | --file) file=(-f "${line[i + 1]/#\~/$HOME}") ;; esac
  done
  compadd -- ${(f)"$(rollout-console "${file[@]}" completion --names $1 \
    ${(Q)words[1,CURRENT-1]} 2>/dev/null)"}
}
_rollout_console_routes() { _rollout_console_names routes }
_rollout_console_orgs() { _rollout_console_names orgs }
""",
    "fish": r"""
function _rollout_console_names
  set -l words (commandline -opc)
  set -l file
  for i in (seq (count $words))
    if contains -- $words[$i] -f --file
      set file -f (string replace -r '^~' $HOME -- $words[(math $i + 1)])
    end
  end
  rollout-console $file completion --names $argv[1] $words 2>/dev/null
end
""",
}
_LAST = {
    "bash": r"""
_rollout_console_whole_addresses() {  # bash breaks words at colons, and so etcd://HOST:PORT/KEY
  local -a words=("${COMP_WORDS[0]}")
  local i last=0 here=0
  for ((i = 1; i < ${#COMP_WORDS[@]}; i++)); do
    if [[ "${words[last]}" =~ ^etcds?(:|$) ]] &&
       [[ "${COMP_WORDS[i]}" == :* || "${words[last]}" == *: ]]; then
      words[last]+=${COMP_WORDS[i]}
    else
      last=$((last + 1)); words[last]=${COMP_WORDS[i]}
    fi
    ((i == COMP_CWORD)) && here=$last
  done
  local -a COMP_WORDS=("${words[@]}")
  local COMP_CWORD=$here
  _shtab_rollout_console "$@"
}

complete -o bashdefault -F _rollout_console_whole_addresses rollout-console
""",
}
"""What follows the script."""
_ROUTES = {
    "bash": "_rollout_console_routes",
    "zsh": "_rollout_console_routes",
    "fish": "(_rollout_console_names routes)",
}
_ORGS = {
    "bash": "_rollout_console_orgs",
    "zsh": "_rollout_console_orgs",
    "fish": "(_rollout_console_names orgs)",
}


def completion(options: Namespace, parser: ArgumentParser, path: Path) -> int:
    """Print the script, or with ``--names`` the names that it asks for."""
    if options.names:
        kind, *words = options.names
        print("\n".join(_names(path, kind, words)))
        return DONE
    if options.shell is None:
        print("rollout-console: which shell? bash, zsh or fish", file=sys.stderr)
        return USAGE
    import shtab

    for action in _actions(parser):
        if action.dest in ("route", "org"):
            action.complete = _ROUTES if action.dest == "route" else _ORGS
        elif action.metavar == "PATH":
            action.complete = shtab.FILE
    sys.stdout.write(shtab.complete(parser, options.shell, preamble=_PREAMBLE[options.shell]))
    sys.stdout.write(_LAST.get(options.shell, ""))
    return DONE


def _names(path: Path, kind: str, words: Sequence[str]) -> list[str]:
    """Return the names to offer after ``words``; of a file that cannot be read, none.

    Orgs are those of the last route among the words.
    """
    try:
        file = parse(read_file(path)[0])
    except (RolloutError, OSError):
        return []
    if kind == "routes":
        found: Iterable[str] = file.routes
    else:
        route = next((word for word in reversed(words) if word in file.routes), "")
        found = file.routes[route].orgs if route else ()
    return [name for name in found if _PLAIN.fullmatch(name)]


def _actions(parser: ArgumentParser) -> Iterator[Any]:
    for action in parser._actions:
        if isinstance(action, _SubParsersAction):
            for command in action.choices.values():
                yield from _actions(command)
        else:
            yield action
