"""The console's public surface: its commands, on which scripts and units depend."""

import argparse
from collections.abc import Mapping

from rollout_console.cli.arguments import build_parser

COMMANDS = {
    "completion", "init",
    "demo", "sim", "show", "set", "rollback", "resume", "undo", "restore", "history", "decide",
    "check", "models", "probe", "shadow", "phase", "playbook", "report", "guard", "export", "keys",
    "jobs", "reconcile", "cost", "budgets", "web", "mirror",
}  # fmt: skip
OF_KEYS = {
    "doctor", "profiles", "add", "remove", "verify", "list", "create", "rename", "limit", "models",
    "expire", "deactivate", "reactivate", "revoke", "rotate", "rotations", "usage",
}  # fmt: skip

OF_JOBS = {"list", "show", "poll", "cancel", "forget", "duplicates"}


def commands_of(parser: argparse.ArgumentParser) -> Mapping[str, argparse.ArgumentParser]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return action.choices
    return {}


def test_exported_commands() -> None:
    found = commands_of(build_parser())
    assert found.keys() == COMMANDS
    assert commands_of(found["keys"]).keys() == OF_KEYS
    assert commands_of(found["jobs"]).keys() == OF_JOBS
    for name, parser in {
        **found, **commands_of(found["keys"]), **commands_of(found["jobs"]),
    }.items():  # fmt: skip
        assert parser.description, f"{name} does not say what it does"


def test_only_the_command_that_is_used_is_set_up() -> None:
    parser = build_parser()
    parser.parse_args(["show", "--json"])
    commands = commands_of(parser)
    assert [name for name, one in commands.items() if "_actions" in vars(one)] == ["show"]
    assert "--reason" in commands["rollback"].format_help()  # set up by the first use of any kind
