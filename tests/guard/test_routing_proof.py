"""Each line proves its routing: what went where the file did not send it, and by whom."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout_console.cli.commands.guard import _routing_json
from rollout_console.guard.misrouted import Misrouted
from rollout_console.guard.traffic import Routing
from rollout_console.guard.writers import Writers
from rollout_console.health.log.record import AccessRecord
from rollout_gate.decision.decision import Decider
from rollout_gate.file.model import RolloutFile
from rollout_gate.file.parse import parse

NOW = 1_800_000_000.0
HEAD = (
    'schema = 1\nalgorithm = "fractional-v3"\n'
    '[routes.chat]\nformat = "openai_chat_completions"\nmodel = "m"\n'
)


def file_of(orgs: str, more: str = "") -> RolloutFile:
    return parse(f"{HEAD}[routes.chat.orgs]\n{orgs}\n{more}".encode())


FILE = file_of("acme = 25\nglobex = { percent = 50, rolled_back = true }\ninitech = 100")
OTHER = file_of("acme = 50\nglobex = 50\ninitech = 100")


def line(org: str, side: str, ago: float = 10.0, **fields: Any) -> AccessRecord:
    found: Any = side
    at = datetime.fromtimestamp(NOW - ago, UTC)
    given = {"latency_ms": 100.0, **fields}
    return AccessRecord(at, "chat", org, found, 200, **given)


def proved(org: str, side: str, bucket: int, file: RolloutFile = FILE, **more: Any) -> AccessRecord:
    given = {"host": "gw-01", "attempt": 1, **more}
    return line(org, side, bucket=bucket, revision=file.revision[:12], **given)


def said(*records: AccessRecord, file: RolloutFile = FILE) -> list[str]:
    strays = Misrouted(file, NOW - 600)
    seen = {(one.route, one.org, one.side) for one in records}
    strays.add(records, seen, NOW)
    return [*strays.sentences(NOW), *(one.sentence for one in strays.far_shares(NOW))]


@pytest.mark.parametrize(
    ("record", "fits"),
    [
        (proved("acme", "tokenlab", 2499), True),
        (proved("acme", "previous", 2500), True),
        (proved("acme", "tokenlab", 2500), False),
        (proved("acme", "previous", 2499), False),
        (proved("globex", "previous", 0), True),
        (proved("globex", "tokenlab", 0), False),
        (proved("initech", "tokenlab", 9999), True),
        (proved("initech", "previous", 9999), False),
        (proved("nobody", "tokenlab", 0), False),
        (proved("nobody", "previous", 0), True),
        (proved("acme", "tokenlab", 4000, OTHER), False),
        (proved("acme", "tokenlab", 100, OTHER), True),
        (proved("acme", "tokenlab", 4000, OTHER, attempt=2), True),
        (proved("acme", "tokenlab", 9999, bound=True), True),
        (proved("acme", "previous", 0, bound=True), True),
        (proved("globex", "previous", 0, moved=True), True),
        (proved("acme", "tokenlab", 9999, operation="count_tokens"), False),
        (line("initech", "previous"), False),
        (line("initech", "previous", operation="embeddings"), True),
    ],
)
def test_the_bucket_proves_the_side(record: AccessRecord, fits: bool) -> None:
    assert bool(said(record)) is not fits


def test_who_sent_them_and_why_is_told() -> None:
    (stale,) = said(*[proved("globex", "tokenlab", 10, OTHER, host="gw-02")] * 3)
    assert stale == (
        "chat / globex sent 3 requests to TokenLab although it is rolled back, the last 10 s ago:"
        f" decided by another version of the file on gw-02 by {OTHER.revision[:8]}"
    )
    (own,) = said(proved("acme", "previous", 10))
    assert own == (
        "chat / acme sent 1 request to previous that this file sends to TokenLab, the last 10 s"
        " ago: gw-01 decided by this version and did otherwise: a client of its own, or requests"
        " whose body the gate cannot read"
    )


def test_alias_and_flags_that_a_line_does_not_name_may_have_decided() -> None:
    shares = file_of("acme = 25", "[routes.chat.keys]\nbatch = 0\n[routes.chat.flags]\nbeta = 60")
    for side, bucket in (("tokenlab", 5999), ("previous", 0), ("previous", 9999)):
        assert said(proved("acme", side, bucket, shares), file=shares) == []
    assert said(proved("acme", "tokenlab", 6000, shares), file=shares) != []


@given(
    percent=st.integers(0, 100),
    key=st.text(max_size=8),
    latched=st.booleans(),
    flags=st.booleans(),
    alias=st.booleans(),
)
def test_what_the_gate_decides_is_never_misrouted(
    percent: int, key: str, latched: bool, flags: bool, alias: bool
) -> None:
    share = f"acme = {{ percent = {percent}, rolled_back = {str(latched).lower()} }}"
    file = file_of(share, "[routes.chat.keys]\nbatch = 30\n[routes.chat.flags]\nbeta = 80")
    decided = Decider(file).decide(
        "chat",
        "acme",
        key=key,
        key_alias="batch" if alias else None,
        flags=("beta",) if flags else (),
    )
    assert said(proved("acme", decided.side, decided.bucket, file), file=file) == []


def test_a_share_without_proof_that_is_far_from_the_percent_is_told() -> None:
    lines = [line("acme", "previous")] * 900 + [line("acme", "tokenlab")] * 10
    assert said(*lines) == [
        "chat / acme: 900 of 910 requests at 25% went to previous; unless a few sticky keys send"
        " most of them, an application does not obey this file"
    ]
    assert said(*lines[:199]) == [], "too few to tell"
    fair = [line("acme", "previous")] * 700 + [line("acme", "tokenlab")] * 300
    assert said(*fair) == []


def test_what_is_older_than_the_file_or_not_recent_proves_nothing() -> None:
    strays = Misrouted(FILE, NOW - 20)
    old = proved("globex", "tokenlab", 0, OTHER)
    strays.add([old], {("chat", "globex", "tokenlab")}, NOW)
    assert len(strays.sentences(NOW)) == 1
    strays = Misrouted(FILE, NOW - 10)
    strays.add([old], {("chat", "globex", "tokenlab")}, NOW)
    assert strays.sentences(NOW) == [], "within the grace"
    assert said(proved("acme", "tokenlab", 9999, ago=300)) == []


def writers(*records: AccessRecord) -> list[str]:
    found = Writers(FILE, NOW - 600)
    found.add(records, NOW)
    return list(found.sentences(NOW).values())


def by(host: str, file: RolloutFile = FILE, **fields: Any) -> AccessRecord:
    return proved("acme", "previous", 9999, file, host=host, **fields)


def test_how_far_each_writer_has_come_is_told() -> None:
    fleet = [by(f"gw-{number:02}") for number in range(40)]
    assert writers(*fleet) == []
    stale = [by(f"gw-{number:02}", OTHER) for number in (7, 2, 30)]
    assert writers(*fleet, *stale) == [
        f"3 of 40 writers still decide by {OTHER.revision[:8]}, not by this file:"
        " gw-02, gw-07, gw-30"
    ], "a host with a process that is behind is behind"
    assert writers(by("gw-01", OTHER)) == [
        f"1 of 1 writer still decides by {OTHER.revision[:8]}, not by this file: gw-01"
    ]


def test_writers_have_a_grace_and_are_forgotten() -> None:
    found = Writers(FILE, NOW - 600)
    found.add([by("gw-01", OTHER)], NOW)
    assert found.sentences(NOW + 100) == {}
    found.configure(OTHER, NOW)
    assert found.sentences(NOW) == {}
    found.add([by("gw-01", FILE, ago=-4)], NOW + 4)
    assert found.sentences(NOW + 4) == {}, "within the grace after the change"
    found.add([by("gw-01", FILE, ago=-9, latency_ms=8000.0)], NOW + 9)
    assert found.sentences(NOW + 9) == {}, "a long answer was decided before it"
    found.add([by("gw-01", FILE, ago=-9)], NOW + 9)
    assert len(found.sentences(NOW + 9)) == 1


def test_hosts_are_untrusted_input_and_bounded() -> None:
    found = Writers(FILE, NOW - 600)
    for number in range(30):
        found.add([by(f"h-{number}-{i}") for i in range(1000)], NOW)
    assert found.count(NOW) <= 10_000


def test_the_evidence_has_route_org_host_how_many_and_since_when() -> None:
    records = [
        proved("globex", "tokenlab", 10, OTHER, ago=40.0, host="gw-02"),
        proved("globex", "tokenlab", 10, OTHER, ago=30.0, host="sk-live-0123456789abcdef"),
        proved("globex", "tokenlab", 10, OTHER, ago=50.0, host="gw-02"),
        *(line("acme", "previous", ago=20.0) for _ in range(300)),
    ]
    strays, writers = Misrouted(FILE, NOW - 600), Writers(FILE, NOW - 600)
    strays.add(records, {(one.route, one.org, one.side) for one in records}, NOW)
    writers.add([proved("acme", "tokenlab", 10, ago=1.0), *records], NOW)
    far = strays.far_shares(NOW)
    found = _routing_json(Routing(strays.found(NOW), writers.found(NOW), far))
    revision = OTHER.revision[:12]
    (one,), (late,), (share,) = found["misrouted"], found["behind"], found["far_shares"]
    assert one | {"reason": ""} == {
        "route": "chat", "org": "globex", "side": "tokenlab", "requests": 3,
        "since": "2027-01-15T07:59:10Z", "last": "2027-01-15T07:59:30Z",
        "decided_by": [
            {"host": "gw-02", "revision": revision, "requests": 2},
            {"host": "sk-…", "revision": revision, "requests": 1},
        ],
        "reason": "",
    }  # fmt: skip
    assert one["reason"].startswith("chat / globex sent 3 requests to TokenLab although it is roll")
    assert late | {"reason": ""} == {
        "revision": revision, "hosts": ["gw-02", "sk-…"], "of": 3,
        "since": "2027-01-15T07:50:00Z", "last": "2027-01-15T07:59:29Z", "reason": "",
    }  # fmt: skip
    assert share | {"reason": ""} == {
        "route": "chat", "org": "acme", "requests": 300, "tokenlab": 0, "percent": 25.0,
        "last": "2027-01-15T07:59:40Z", "reason": "",
    }  # fmt: skip
    assert "0123456789abcdef" not in str(found)
