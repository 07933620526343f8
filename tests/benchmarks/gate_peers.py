"""One decision of the gate beside feature-flag SDKs, each offline, with the same 10,000 orgs.

Every peer has the same thing to decide: a share of an org's traffic, sticky by user. It is put to
them in two ways: a flag for each org, which is the quickest for them, and one flag with a rule for
the orgs of each of 101 shares, which is less to write down. The peers are in the extra ``bench``;
what is not installed is said and passed over.

The floor is the one that the target is a multiple of: a dict look-up, the CBOR head, mmh3.hash.
The row below it is the least by hand: the heads prepared, and the quickest call mmh3 has, which
are what the gate itself does. The first is the yardstick, the second says how much is left.
"""

import json
import logging
import tempfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from statistics import median

import mmh3

from rollout_gate import Gate
from rollout_gate.bucketing import SHORT_HEADS, bucket_prefix
from tests.benchmarks.gate_import import import_seconds
from tests.benchmarks.timing import seconds

ORGS = 10_000
CALLS = 2_000
SIZES = (10, ORGS, 100_000)
EXTRA = "pip install -e '.[bench]'"
IMPORTS = {
    "the gate's own needs": "import mmh3, msgspec",
    "the gate": "import rollout_gate",
    "growthbook": "import growthbook",
    "launchdarkly-server-sdk": "import ldclient",
    "openfeature-flagd-core": "import openfeature.contrib.tools.flagd.core",
    "UnleashClient": "import UnleashClient",
}

Decide = Callable[[str, str], bool]
Groups = dict[str, dict[int, list[str]]]
"""By flag: the orgs of each share. The flag "" is for all orgs."""


def main() -> None:
    """Print microseconds a decision and times the floor, each table in one run; then imports."""
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        _sizes(Path(name))
        shares = {f"org-{i}": i % 101 for i in range(ORGS)}
        for title, groups in (
            ("a flag for each org", {org: {share: [org]} for org, share in shares.items()}),
            ("one flag, a rule for each share", {"": _by_share(shares)}),
        ):
            print(f"{title}, {ORGS:,} orgs:")
            _table(Path(name), shares, groups)
    _imports()


def _sizes(folder: Path) -> None:
    """The gate alone, before any peer is loaded."""
    for orgs in SIZES:
        shares = {f"org-{i}": i % 101 for i in range(orgs)}
        with _gate(folder, shares) as gate:
            asked = _asked(orgs, 10 * CALLS)  # enough to leave the caches, as real traffic does
            runs = _floors(shares, asked) | {"the gate": _gate_calls(gate, asked)}
            print(f"the gate, {orgs:,} orgs:")
            _print(runs, len(asked))


def _table(folder: Path, shares: dict[str, int], groups: Groups) -> None:
    asked = _asked(ORGS, CALLS)
    makers: dict[str, Callable[[Groups], Decide]] = {
        "growthbook": _growthbook,
        "launchdarkly-server-sdk": _launchdarkly,
        "openfeature-flagd-core": _flagd,
        "UnleashClient": lambda groups: _unleash(folder, groups),
    }
    with _gate(folder, shares) as gate:
        _prove("the gate", lambda org, key: gate.decide("chat", org, key=key).side == "tokenlab")
        runs = _floors(shares, asked) | {"the gate": _gate_calls(gate, asked)}
        for name, make in makers.items():
            try:
                decide = make(groups)
            except ImportError:
                print(f"  {name} is not installed: {EXTRA}")
                continue
            _prove(name, decide)
            runs[name] = _calls(decide, asked)
        _print(runs, len(asked))


def _print(runs: dict[str, Callable[[], object]], calls: int) -> None:
    samples: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(11):
        for name, run in runs.items():
            run()  # else what is timed after a large peer pays for the caches that it emptied
            samples[name].append(seconds(run))
    floor = median(samples["the floor"])
    for name in runs:
        taken = median(samples[name])
        print(
            f"  {name + ' ' + _version(name):<32} {1e6 * taken / calls:8.2f} us a decision, "
            f"{taken / floor:8.2f}x the floor"
        )


def _imports(times: int = 9) -> None:
    print("import, in a fresh interpreter:")
    there = {
        name: statement
        for name, statement in IMPORTS.items()
        if name.startswith("the gate") or _version(name)
    }
    found = import_seconds(*there.values(), times=times)
    for name, statement in there.items():
        print(f"  {name + ' ' + _version(name):<32} {1000 * found[statement]:8.0f} ms")


def _asked(orgs: int, calls: int) -> list[tuple[str, str]]:
    return [(f"org-{i * 7 % orgs}", f"user-{i}") for i in range(calls)]


def _gate_calls(gate: Gate, asked: list[tuple[str, str]]) -> Callable[[], object]:
    def run() -> None:
        decide = gate.decide
        for org, key in asked:
            decide("chat", org, key=key)

    return run


def _calls(decide: Decide, asked: list[tuple[str, str]]) -> Callable[[], object]:
    def run() -> None:
        for org, key in asked:
            decide(org, key)

    return run


def _prove(name: str, decide: Decide) -> None:
    """A peer that does not decide what it should is not worth timing."""
    for org, share in (("org-0", 0), ("org-100", 100), ("org-30", 30)):
        found = sum(decide(org, f"subject-{i}") for i in range(600)) / 6
        assert abs(found - share) < 8, (name, org, found)
        assert share not in (0, 100) or found == share, (name, org, found)


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _by_share(shares: dict[str, int]) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for org, share in shares.items():
        found.setdefault(share, []).append(org)
    return found


def _floors(
    shares: dict[str, int], asked: list[tuple[str, str]]
) -> dict[str, Callable[[], object]]:
    prefix = bucket_prefix("chat")
    heads = tuple(prefix + head for head in SHORT_HEADS)
    points = {org: share * 100 for org, share in shares.items()}

    def floor() -> None:
        for org, key in asked:
            raw = key.encode()
            bucket = mmh3.hash(prefix + bytes((0x60 | len(raw),)) + raw, 0, False) * 10_000 >> 32
            _ = bucket < points[org]

    def least() -> None:
        murmur3 = mmh3.mmh3_32_uintdigest
        for org, key in asked:
            raw = key.encode()
            _ = murmur3(heads[len(raw)] + raw) * 10_000 >> 32 < points[org]

    return {"the floor": floor, "the least by hand": least}


def _gate(folder: Path, shares: dict[str, int]) -> Gate:
    """A gate as an application has it, with its thread; it looks at the file once a minute."""
    head = 'schema = 1\nalgorithm = "fractional-v3"\n[routes.chat]\nformat = "image"\n'
    lines = "".join(f"{org} = {share}\n" for org, share in shares.items())
    path = folder / "rollout.toml"
    path.write_text(f"{head}[routes.chat.orgs]\n{lines}")
    return Gate(path, poll_s=60)


def _flag_of(groups: Groups) -> Callable[[str], str]:
    """Return what names the flag that decides for an org."""
    return (lambda org: "") if "" in groups else (lambda org: org)


def _flagd(groups: Groups) -> Decide:
    from openfeature.contrib.tools.flagd.core import FlagdCore
    from openfeature.evaluation_context import EvaluationContext

    flags = {}
    for name, by_share in groups.items():
        branches: list[object] = []
        for share, orgs in by_share.items():
            split = {"fractional": [["tokenlab", share * 100], ["previous", 10_000 - share * 100]]}
            branches += [{"in": [{"var": "org"}, orgs]}, split]
        flags[f"chat.{name}"] = {
            "state": "ENABLED",
            "variants": {"tokenlab": "tokenlab", "previous": "previous"},
            "defaultVariant": "previous",
            "targeting": branches[1] if name else {"if": [*branches, "previous"]},
        }
    core, flag_of = FlagdCore(), _flag_of(groups)
    core.set_flags(json.dumps({"flags": flags}))

    def decide(org: str, key: str) -> bool:
        context = EvaluationContext(targeting_key=key, attributes={"org": org})
        found = core.resolve_string_value(f"chat.{flag_of(org)}", "?", context)
        return bool(found.value == "tokenlab")

    return decide


def _growthbook(groups: Groups) -> Decide:
    from growthbook import GrowthBook

    features = {}
    for name, by_share in groups.items():
        rules: list[dict[str, object]] = [
            {"coverage": share / 100, "hashAttribute": "id", "force": True}
            | ({} if name else {"condition": {"org": {"$in": orgs}}})
            for share, orgs in by_share.items()
        ]
        features[f"chat.{name}"] = {"defaultValue": False, "rules": rules}
    book, flag_of = GrowthBook(features=features), _flag_of(groups)

    def decide(org: str, key: str) -> bool:
        book.set_attributes({"id": key, "org": org})
        return bool(book.is_on(f"chat.{flag_of(org)}"))

    return decide


def _launchdarkly(groups: Groups) -> Decide:
    from ldclient import Context, LDClient
    from ldclient.config import Config
    from ldclient.integrations import Files

    flags = {}
    for name, by_share in groups.items():
        rules = []
        for share, orgs in by_share.items():
            weights = [(0, share * 1000), (1, 100_000 - share * 1000)]
            variations = [{"variation": which, "weight": weight} for which, weight in weights]
            clause = {"attribute": "org", "op": "in", "values": orgs, "negate": False}
            rules.append(
                {"id": f"{share}", "clauses": [clause], "rollout": {"variations": variations}}
            )
        flags[f"chat.{name}"] = {
            "key": f"chat.{name}", "on": True, "version": 1, "salt": "chat",
            "variations": [True, False], "offVariation": 1, "targets": [], "prerequisites": [],
            "fallthrough": {"rollout": rules[0]["rollout"]} if name else {"variation": 1},
            "rules": [] if name else rules,
        }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "flags.json"
        path.write_text(json.dumps({"flags": flags}))
        source = Files.new_data_source(paths=[str(path)], auto_update=False)
        client = LDClient(Config("sdk-key", update_processor_class=source, send_events=False))
    flag_of = _flag_of(groups)

    def decide(org: str, key: str) -> bool:
        context = Context.builder(key).set("org", org).build()
        return bool(client.variation(f"chat.{flag_of(org)}", context, False))

    return decide


def _unleash(folder: Path, groups: Groups) -> Decide:
    from UnleashClient import UnleashClient
    from UnleashClient.cache import FileCache

    features = []
    for name, by_share in groups.items():
        strategies = [
            {
                "name": "flexibleRollout",
                "parameters": {"rollout": str(share), "stickiness": "userId", "groupId": name},
                "constraints": []
                if name
                else [{"contextName": "org", "operator": "IN", "values": orgs}],
            }
            for share, orgs in by_share.items()
        ]
        named = {"name": f"chat.{name}", "type": "release", "enabled": True}
        features.append(named | {"strategies": strategies})
    cache = FileCache("rollout-bench", directory=tempfile.mkdtemp(dir=folder))
    cache.bootstrap_from_dict({"version": 1, "features": features})
    client = UnleashClient(
        url="http://127.0.0.1:9", app_name="bench", cache=cache,
        disable_metrics=True, disable_registration=True,
    )  # fmt: skip
    client.initialize_client(fetch_toggles=False)
    flag_of = _flag_of(groups)
    return lambda org, key: bool(
        client.is_enabled(f"chat.{flag_of(org)}", {"userId": key, "org": org})
    )


if __name__ == "__main__":
    main()
