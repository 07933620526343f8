"""Make docs/decision-vectors.json: cases that hold a decision in another language to this one.

``python -m tests.support.decision_vectors`` writes it; docs/decision.md says what it holds. The
same text comes out each time: of ``random`` only what keeps its sequence between versions is used.
"""

import json
import random
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from rollout_gate.bucketing import bucket_of
from rollout_gate.decision.decision import Decider
from rollout_gate.file.parse import parse

PATH = Path(__file__).resolve().parents[2] / "docs" / "decision-vectors.json"
COUNT = 1_000

Case = dict[str, Any]
_T = TypeVar("_T")

COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"
HEBREW, ARABIC = "\u05e9\u05dc\u05d5\u05dd", "\u0645\u0631\u062d\u0628\u0627 2"
FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
UNICODE = (
    COMPOSED,
    DECOMPOSED,
    "Caf\u00e9",
    "\U0001f600",
    FAMILY,
    HEBREW,
    ARABIC,
    "\u6f22\u5b57",
    "stra\u00dfe",
    "\ufb01",
    "\ufeffbom",
)
TRAPS = ("constructor", "__proto__", "toString", "hasOwnProperty")
"""Names that some languages find in every object."""
ODD = (
    "globex.eu",
    'say "hi"',
    "it's",
    "back\\slash",
    " padded ",
    "tab\there",
    "a\nb",
    "*",
    "0",
    "",
)
LONG = tuple("r" * size for size in (23, 24, 255, 256))

_PLAIN = """\
schema = 1
algorithm = "fractional-v3"
"""

_RULES = (
    _PLAIN
    + """
[routes.tokenlab-chat]
format = "openai_chat_completions"
[routes.tokenlab-chat.orgs]
org_acme = 24.42   # its bucket is 2441

[routes.tokenlab-messages]
format = "anthropic_messages"
[routes.tokenlab-messages.orgs]
org_acme = 40.65   # its bucket is 4065

[routes.chat]
format = "openai_chat_completions"
model = "gpt-5.4"
phase = "rollout"
default_percent = 12.5
[routes.chat.orgs]
acme = 25
Acme = 75.25
zero = 0
least = 0.01
half = 50.0
most = 99.99
full = 100
float_28_99 = 0.29      # 0.29 * 100 is 28.999999999999996 in floating point
float_114_99 = 1.15     # and this one 114.99999999999999
exponent = 1e1
table = { percent = 60 }
latched = { percent = 100, rolled_back = true }
unset = { rolled_back = true }
resumed = { rolled_back = false }
empty = {}
globex.eu = 80          # without quotes: an unknown key of the org globex, not the org globex.eu
[routes.chat.keys]
special = 100
stopped = 0
some = 33.33
"" = 66
[routes.chat.flags]
beta = 100
gamma = 1
twin_a = 50
twin_b = 50
never = 0
"" = 7

[routes.off]
format = "openai_responses"
default_percent = 100
rolled_back = true
[routes.off.orgs]
acme = 30
latched = { rolled_back = true }
[routes.off.keys]
special = 90
[routes.off.flags]
beta = 80

[routes.none]
format = "image"

[routes.least]
format = "video"
default_percent = 0.01

[routes.most]
format = "music"
default_percent = 99.99

[routes.all]
format = "3d"
default_percent = 100
"""
)

_LATCHED = (
    _PLAIN
    + """rolled_back = true

[routes.chat]
format = "gemini_generate_content"
default_percent = 100
[routes.chat.orgs]
acme = 25
latched = { percent = 5, rolled_back = true }
[routes.chat.keys]
special = 100
[routes.chat.flags]
beta = 50

[routes.off]
format = "openai_responses"
rolled_back = true
"""
)

_BARE = """\
[routes.chat]
format = "openai_chat_completions"
default_percent = 50

[routes.Chat]
format = "openai_chat_completions"
default_percent = 100
"""


def _quoted(name: str) -> str:
    return json.dumps(name, ensure_ascii=False)


def _names() -> str:
    """A file of odd names: of routes, orgs, keys and flags, each with a share of its own."""
    lines = [_PLAIN]
    named = [name for name in (*UNICODE, *TRAPS, *ODD, *LONG) if name]
    for at, name in enumerate(named):
        lines.append(f"[routes.{_quoted(name)}]")
        lines.append(f'format = "image"\ndefault_percent = {(at * 7) % 100}.{at:02d}\n')
    lines.append('[routes.names]\nformat = "image"\ndefault_percent = 3\n')
    for table, first in (("orgs", 5), ("keys", 20), ("flags", 40)):
        lines.append(f"[routes.names.{table}]")
        # A composed and a decomposed name are two; of some names only one has a line.
        for at, name in enumerate(name for name in (*named, "") if name != "Caf\u00e9"):
            lines.append(f"{_quoted(name)} = {first + at}.5")
        lines.append("")
    return "\n".join(lines)


FILES = {"rules": _RULES, "names": _names(), "latched": _LATCHED, "bare": _BARE}


def text(value: Any) -> Any:
    """Return what a value of a case stands for: a repeated text or UTF-16 units as a text."""
    if not isinstance(value, dict):
        return value
    if "repeat" in value:
        part, times = value["repeat"]
        return part * times
    units = b"".join(unit.to_bytes(2, "big") for unit in value["utf16"])
    return units.decode("utf-16-be", "surrogatepass")


def arguments(case: Case) -> dict[str, Any]:
    """Return what is given to ``decide`` for a case."""
    given = {name: text(case[name]) for name in ("route", "org", "key", "key_alias")}
    flags = case["flags"]
    listed = [text(flag) for flag in flags] if isinstance(flags, list) else flags
    return {**given, "flags": listed}


def _case(
    file: str | None,
    route: Any,
    org: Any,
    *,
    key: Any = None,
    key_alias: Any = None,
    flags: Any = (),
) -> Case:
    listed = list(flags) if isinstance(flags, tuple) else flags
    return {
        "file": file,
        "route": route,
        "org": org,
        "key": key,
        "key_alias": key_alias,
        "flags": listed,
    }


def _every_rule() -> Iterator[Case]:
    yield _case("rules", "tokenlab-chat", "org_acme")
    yield _case("rules", "tokenlab-messages", "org_acme")
    orgs = (
        *("acme", "Acme", "ACME", "zero", "least", "half", "most", "full", "float_28_99"),
        *("float_114_99", "exponent", "table", "latched", "unset", "resumed", "empty", "globex"),
        *("globex.eu", "somebody", "", "*", *TRAPS),
    )
    for org in orgs:
        yield _case("rules", "chat", org)
        yield _case("rules", "chat", org, key="user-1")
        yield _case("rules", "chat", org, key="")
        yield _case("rules", "chat", org, key_alias="special")
        yield _case("rules", "chat", org, flags=("beta",))
    for alias in ("special", "stopped", "some", "", "Special", "other", *TRAPS):
        yield _case("rules", "chat", "full", key_alias=alias)
        yield _case("rules", "chat", "zero", key_alias=alias, flags=("beta",))
        yield _case("rules", "chat", "latched", key_alias=alias, flags=("beta",))
    for flags in (
        *(("gamma", "beta"), ("beta", "gamma"), ("twin_a", "twin_b"), ("twin_b", "twin_a")),
        *(("never", "gamma", "twin_b", "twin_a"), ("gamma", "gamma"), ("never",), ("Beta",)),
        *(("other",), ("other", "never"), ("",), TRAPS),
    ):
        yield _case("rules", "chat", "full", key="user-2", flags=flags)
        yield _case("rules", "chat", "unset", flags=flags)
        yield _case("rules", "chat", "full", key_alias="stopped", flags=flags)
    for file, routes in (("rules", ("off",)), ("latched", ("chat", "off"))):
        for route in routes:
            for org in ("acme", "latched", "somebody"):
                yield _case(file, route, org)
                yield _case(file, route, org, key_alias="special", flags=("beta",))
                yield _case(file, route, org, key="user-3", flags=("beta",))
    for file in FILES:
        for route in ("nope", "CHAT", "chat ", "constructor" if file != "names" else "valueOf", ""):
            yield _case(file, route, "acme", key="user-4")
    for route in ("chat", "Chat"):
        yield _case("bare", route, "acme")
    for org in ("acme", ""):
        yield _case(None, "chat", org, key="user-5", key_alias="special", flags=("beta",))


def _bad_arguments() -> Iterator[Case]:
    for wrong in (None, 7):
        yield _case("rules", wrong, "acme")
        yield _case("rules", "chat", wrong)
        yield _case("rules", "nope", wrong)
        yield _case("latched", "chat", wrong)
    yield _case("rules", "chat", "acme", key=7)
    yield _case("rules", "off", "acme", key=7)
    yield _case("rules", "nope", "acme", key=7)
    yield _case("rules", "chat", "acme", flags=7)


def _names_cases() -> Iterator[Case]:
    for name in (*UNICODE, *TRAPS, *ODD, *LONG):
        yield _case("names", name, "acme")
        yield _case("names", "names", name)
        yield _case("names", "names", "nobody", key=name)
        yield _case("names", "names", "nobody", key_alias=name)
        yield _case("names", "names", "nobody", flags=("other", name))
    for units in ([0xD800], [0xDC00], [0x61, 0xD83D, 0x62], [0xDE00, 0xD83D], [0xD83D, 0xDE00]):
        yield _case("rules", "chat", "acme", key={"utf16": units})
        yield _case("rules", "chat", {"utf16": units})
        yield _case("names", "names", {"utf16": units}, key_alias={"utf16": units})
        yield _case("rules", {"utf16": units}, "acme")


def _sizes() -> Iterator[Case]:
    for part in ("x", "\u00e9", "\u6f22", "\U0001f600"):
        width = len(part.encode())
        for size in (23, 24, 255, 256, 65_535, 65_536, 65_540):
            if size % width == 0:
                repeated = {"repeat": [part, size // width]}
                yield _case("rules", "chat", "acme", key=repeated)
                yield _case("rules", "most", repeated)
    for size in range(20):  # every length of the last, incomplete block
        yield _case("rules", "chat", "half", key="\u00ff" * (size // 2) + "z" * (size % 2))
    yield _case("rules", {"repeat": ["x", 65_536]}, "acme")


def _edges() -> Iterator[Case]:
    """A share's last bucket, and the first that is out of it."""
    for route, org, points in (
        ("chat", "least", 1),
        ("chat", "float_28_99", 29),
        ("chat", "float_114_99", 115),
        ("chat", "somebody", 1_250),
        ("chat", "half", 5_000),
        ("chat", "most", 9_999),
        ("chat", "full", 10_000),
        ("none", "acme", 0),
        ("least", "acme", 1),
        ("most", "acme", 9_999),
        ("all", "acme", 10_000),
    ):
        for bucket in (points - 1, points):
            if 0 <= bucket <= 9_999:
                key = next(key for key in map("user-{}".format, range(10**6)) if
                           bucket_of(route, key) == bucket)  # fmt: skip
                yield _case("rules", route, org, key=key)


class _Dice:
    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)

    def below(self, count: int) -> int:
        return int(self._rng.random() * count)

    def pick(self, options: Sequence[_T]) -> _T:
        return options[self.below(len(options))]


def _any(dice: _Dice) -> Case:
    file = dice.pick(("rules", "rules", "rules", "names", "names", "latched", "bare"))
    table = tomllib.loads(FILES[file])["routes"]
    main = "names" if file == "names" else "chat"
    route = dice.pick((main, main, main, dice.pick([*table, "nope"])))
    found = table.get(route, {})
    orgs = [*found.get("orgs", {}), "somebody", "org_0f9c2d7e-5b1a-4e0e-9a57-3f2d1c8b7a60"]
    number = dice.below(1_000_000)
    keys = (
        None,
        "",
        f"user-{number}",
        f"{number:032x}",
        f"{number}@{COMPOSED}",
        dice.pick(UNICODE),
    )
    aliases = [None, None, None, *found.get("keys", {}), "other"]
    flags = [*found.get("flags", {}), "other"]
    return _case(
        file,
        route,
        dice.pick(orgs),
        key=dice.pick(keys),
        key_alias=dice.pick(aliases),
        flags=tuple(dice.pick(flags) for _ in range(dice.pick((0, 0, 0, 1, 2, 3)))),
    )


def cases() -> list[Case]:
    """Return the cases, without what is expected."""
    written = (*_every_rule(), *_bad_arguments(), *_names_cases(), *_sizes(), *_edges())
    found = {json.dumps(case): case for case in written}
    dice = _Dice(20261123)
    while len(found) < COUNT:
        case = _any(dice)
        found[json.dumps(case)] = case
    assert len(found) == COUNT, f"{len(found)} cases are written out; at most {COUNT}"
    return list(found.values())


def made() -> str:
    """Return the whole text of the vector file."""
    deciders: dict[str | None, Decider] = {
        name: Decider(parse(toml.encode())) for name, toml in FILES.items()
    }
    deciders[None] = Decider()
    lines = []
    for case in cases():
        got = deciders[case["file"]].decide(**arguments(case))
        expect = {
            "side": got.side,
            "points": got.points,
            "bucket": got.bucket,
            "rule": got.rule,
        }
        lines.append(json.dumps({**case, "expect": expect}))
    files = {name: {"toml": toml, "parsed": tomllib.loads(toml)} for name, toml in FILES.items()}
    return (
        '{"about": "How to use this file: decision.md, beside it.",\n"version": 1,\n'
        f'"files": {json.dumps(files)},\n"cases": [\n' + ",\n".join(lines) + "\n]}\n"
    )


if __name__ == "__main__":
    PATH.write_text(made())
    print(f"{PATH.name}: {COUNT} cases, {PATH.stat().st_size / 1024:.0f} KiB")
