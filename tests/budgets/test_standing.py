"""Calendar periods, and how a budget stands: over, near, projected, in words that are true."""

import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from threading import Event, Thread, current_thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout_console.budgets import spending
from rollout_console.budgets.periods import period_at
from rollout_console.budgets.spending import (
    Scope,
    Spend,
    Spending,
    keep_spending,
    kept_spending,
    known_spending,
    note_failure,
    scopes_at,
    share_spending,
    shared_path,
    spending_path,
)
from rollout_console.budgets.standing import (
    Standing,
    age_words,
    lowers_words,
    missing_from,
    standings_of,
    usd,
    what_of,
)
from rollout_console.common.flock import locked_folder
from rollout_gate.file.model import BUDGET_PERIODS, Budget
from rollout_gate.file.parse import parse
from tests.support.waiting import PATIENCE_S, until

HEAD = 'schema = 1\nalgorithm = "fractional-v3"\n[routes.chat]\nformat = "openai_responses"\n'
AT = datetime(2026, 11, 29, 10, tzinfo=UTC).timestamp()
MONTH = period_at("month", AT)


def standing(spent: str, limit: str = "2500", **more: object) -> Standing:
    spend = Spend(Scope("", "acme", "", "month"), MONTH.begins, Decimal(spent), **more)  # type: ignore[arg-type]
    return Standing(Budget("acme-month", Decimal(limit), org="acme"), MONTH, spend, AT, 86_400)


@given(
    st.floats(0, 7e9),
    st.sampled_from(BUDGET_PERIODS),
)
def test_periods_follow_one_another_without_a_gap(at: float, per: str) -> None:
    found = period_at(per, at)  # type: ignore[arg-type]
    assert found.begins <= at < found.ends
    assert period_at(per, found.ends).begins == found.ends  # type: ignore[arg-type]
    assert period_at(per, found.begins - 1).ends == found.begins  # type: ignore[arg-type]
    begin = datetime.fromtimestamp(found.begins, UTC)
    assert (begin.hour, begin.minute, begin.second) == (0, 0, 0)
    assert per == "day" or (begin.day == 1 if per == "month" else begin.weekday() == 0)


@pytest.mark.parametrize(
    ("per", "words", "until"),
    [
        ("day", "29 Nov", "30 Nov 00:00 UTC"),
        ("week", "the week from 23 Nov", "30 Nov 00:00 UTC"),
        ("month", "November", "1 Dec 00:00 UTC"),
    ],
)
def test_a_period_has_a_name_and_an_end(per: str, words: str, until: str) -> None:
    found = period_at(per, AT)  # type: ignore[arg-type]
    assert (found.words, found.until_words) == (words, until)


@pytest.mark.parametrize(
    ("spent", "percent", "near", "over"),
    [("1999.99", 79, False, False), ("2000", 80, True, False), ("2499.999999", 99, True, False),
     ("2500", 100, False, True), ("2612.405", 104, False, True), ("-3", 0, False, False)],
)  # fmt: skip
def test_it_is_near_at_80_percent_and_over_at_100(
    spent: str, percent: int, near: bool, over: bool
) -> None:
    found = standing(spent)
    assert (found.percent, found.is_near, found.is_over) == (percent, near, over)


def test_its_words_say_how_much_of_what_until_when() -> None:
    found = standing("2612.405", unattributed=Decimal(12), since=MONTH.begins + 2 * 86_400 + 60)
    assert found.held_words == (
        "budget acme-month: $2,612.40 of $2,500 for November, until 1 Dec 00:00 UTC"
    )
    assert found.notes == [
        "$12 is not attributed", "attributed since 3 Nov 00:01 UTC, where the log begins",
    ]  # fmt: skip
    assert standing("1", problem="TokenLab has no API key 'x'").notes == [
        "TokenLab has no API key 'x'"
    ]
    assert not standing("9999", problem="no key").is_over


def test_the_end_is_projected_at_the_burn_of_a_day() -> None:
    found = standing("1000", last_day=Decimal(48))
    assert found.projected == 1000 + Decimal(48) * 38 / 24  # 38 hours are left of November
    assert standing("1000", last_day=Decimal(-5)).projected == 1000
    short = Standing(found.budget, MONTH, found.spend, AT, 60.0)
    assert short.projected is None


@given(st.decimals(-(10**9), 10**9, places=12))
def test_an_amount_is_never_shown_as_more_than_it_is(amount: Decimal) -> None:
    shown = Decimal(usd(amount).replace("$", "").replace(",", ""))
    assert abs(shown) <= abs(amount)
    assert abs(amount) - abs(shown) < Decimal("0.01" if abs(amount) >= 1 else "0.000001")


def test_amounts_are_short() -> None:
    some = ("2500", "2612.4", "0.5", "0.0000125", "-3.001", "1234567", "1e-18", "0")
    assert [usd(Decimal(one)) for one in some] == [
        "$2,500", "$2,612.40", "$0.50", "$0.000012", "-$3", "$1,234,567",
        "$0.000000000000000001", "$0",
    ]  # fmt: skip


def test_a_new_period_or_budget_is_not_counted_yet(tmp_path: Path) -> None:
    text = f'{HEAD}[budgets.b]\nper = "month"\nlimit_usd = 5\n'
    file = parse(text.encode())
    (scope,) = scopes_at(file, AT)
    counted = Spending(AT, [Spend(scope, MONTH.begins, Decimal(6))], counted_at=AT)
    path = spending_path(tmp_path, tmp_path / "rollout.toml", "prod")
    assert missing_from(file, kept_spending(path), AT)
    keep_spending(counted, path)
    kept = kept_spending(path)
    assert kept == counted
    assert [one.is_over for one in standings_of(file, kept, AT)] == [True]
    assert not missing_from(file, kept, AT)
    (december,) = standings_of(file, kept, MONTH.ends)
    assert (december.is_over, december.notes) == (False, ["not counted yet"])
    assert missing_from(file, kept, MONTH.ends)
    assert age_words(counted, AT) == "up to 10:00 UTC"
    assert age_words(counted, AT + 86_400) == "up to 29 Nov 10:00 UTC"


def test_a_fifo_in_place_of_the_file_blocks_nobody(tmp_path: Path) -> None:
    path = tmp_path / "rollout.toml"
    path.touch()
    os.mkfifo(shared_path(path))
    counted = Spending(AT, [], counted_at=AT, profile="prod")
    assert known_spending(tmp_path / "state", path, "prod", AT) is None
    share_spending(counted, path)
    assert known_spending(tmp_path / "state", path, "prod", AT) == counted


def test_a_tiny_limit_is_spent_many_times_over() -> None:
    one = standing("1e17", "0.000000000000000001", last_day=Decimal("1e17"))
    assert one.percent == 10**37
    assert one.held_words.endswith(
        "$100,000,000,000,000,000 of $0.000000000000000001 for November, until 1 Dec 00:00 UTC"
    )
    assert one.projected is not None


def test_the_newest_count_of_the_own_profile_is_known(tmp_path: Path) -> None:
    path, folder = tmp_path / "rollout.toml", tmp_path / "state"
    path.touch(mode=0o640)
    assert known_spending(folder, path, "prod", AT) is None
    share_spending(Spending(AT, counted_at=AT, profile="prod", problem="old"), path)
    shared = known_spending(folder, path, "prod", AT)
    assert shared is not None
    assert (shared.until, shared.problem) == (AT, "")
    assert shared_path(path).stat().st_mode & 0o777 == 0o640
    assert known_spending(folder, path, "other", AT) is None
    # An older count replaces no newer one, unless that is of a clock that was set back since.
    share_spending(Spending(AT - 60, counted_at=AT, profile="prod"), path)
    assert known_spending(folder, path, "prod", AT) == shared
    own = spending_path(folder, path, "prod")
    note_failure(own, "no token", AT + 60)
    failed = known_spending(folder, path, "prod", AT)
    assert failed is not None
    assert (failed.until, failed.problem) == (AT, "no token")
    keep_spending(Spending(AT + 600, counted_at=AT + 600, profile="prod"), own)
    newer = known_spending(folder, path, "prod", AT + 600)
    assert newer is not None
    assert newer.until == AT + 600
    share_spending(Spending(AT - 9 * 86_400, counted_at=AT - 9 * 86_400, profile="prod"), path)
    assert (kept_spending(shared_path(path)) or shared).until == AT - 9 * 86_400
    assert [one.name for one in tmp_path.iterdir() if one.name.endswith(".tmp")] == []
    share_spending(Spending(AT), tmp_path / "none" / "rollout.toml")
    # One by a clock that was ahead is not the newest until then, and is replaced.
    for ahead in (3_600, 864_000):
        keep_spending(Spending(AT + ahead, profile="prod"), shared_path(path))
        assert known_spending(folder, path, "prod", AT + 600) == newer
        share_spending(newer, path)
        assert kept_spending(shared_path(path)) == newer


def begins_with(count: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> list[Thread]:
    """Have another begin to write its count right after the next reading of what is kept."""
    read, sleep = kept_spending, time.sleep
    others, waits = list[Thread](), Event()

    def then_other_writes(path: Path) -> Spending | None:
        found = read(path)
        if not others:
            others.append(Thread(target=count))
            others[0].start()
            until(lambda: waits.is_set() or not others[0].is_alive())
        return found

    def waiting(seconds: float) -> None:
        if others and current_thread() is others[0]:
            waits.set()
        sleep(seconds)

    monkeypatch.setattr(spending, "kept_spending", then_other_writes)
    monkeypatch.setattr(spending, "_LOCK_WAIT_S", PATIENCE_S)
    monkeypatch.setattr(time, "sleep", waiting)
    return others


@pytest.mark.parametrize("shared", [False, True])
def test_an_older_count_is_not_put_over_a_newer_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, shared: bool
) -> None:
    """Another process counts between the reading and the writing of the first."""
    file = tmp_path / "rollout.toml"
    file.touch()
    own = spending_path(tmp_path, file, "prod")
    old, newer = (Spending(at, [], counted_at=at) for at in (AT, AT + 60))
    place = shared_path(file) if shared else own
    keep_spending(old, place)
    if shared:
        others = begins_with(lambda: share_spending(newer, file), monkeypatch)
        share_spending(Spending(AT + 30, counted_at=AT + 30), file)
    else:
        others = begins_with(lambda: keep_spending(newer, own), monkeypatch)
        note_failure(own, "no token", AT + 30)
    others[0].join()
    assert kept_spending(place) == newer


def test_a_failure_from_before_the_last_count_is_over(tmp_path: Path) -> None:
    own = spending_path(tmp_path, tmp_path / "rollout.toml", "prod")
    counted = Spending(AT, [], counted_at=AT)
    keep_spending(counted, own)
    note_failure(own, "no token", AT - 1)
    assert kept_spending(own) == counted
    note_failure(own, "no token", AT - 86_400)  # that count's clock was ahead by a day
    assert (kept_spending(own) or counted).problem == "no token"


def test_a_count_that_took_longer_replaces_none_that_began_later(tmp_path: Path) -> None:
    own = spending_path(tmp_path, tmp_path / "rollout.toml", "prod")
    later = Spending(AT, [], counted_at=AT)
    assert keep_spending(later, own)
    assert not keep_spending(Spending(AT - 60, counted_at=AT - 60), own)
    assert kept_spending(own) == later
    assert not keep_spending(Spending(AT - 60, counted_at=AT + 60), own, only_newer=True)
    assert keep_spending(Spending(AT - 60, counted_at=AT + 60), own)


def test_a_folder_that_stays_locked_has_the_count_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spending, "_LOCK_WAIT_S", 0.01)
    own = spending_path(tmp_path, tmp_path / "rollout.toml", "prod")
    with locked_folder(tmp_path, 0):
        keep_spending(Spending(AT, counted_at=AT), own)
        note_failure(own, "no token", AT + 60)
    assert (kept_spending(own) or Spending()).problem == "no token"


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b'{"until": "x"}', b"\xff", b"[" * 100_000,
     b'{"until": 1e300}', b'{"until": -1}', b'{"took_s": 1e12}', b'{"burn": "1e999999"}',
     b'{"burn": "1e-999999"}', b'{"burn": "NaN"}',
     b'{"spends": [{"scope": ["", "", "", "month"], "begins": 1, "since": 1e300}]}',
     b'{"spends": [{"scope": ["", "", "", "month"], "begins": 1, "cost":'
     b' "Infinity"}]}'],
)  # fmt: skip
def test_a_file_that_is_no_spending_is_none(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "spending.json"
    path.write_bytes(data)
    assert kept_spending(path) is None


def test_a_budget_names_what_it_is_of() -> None:
    def of(**names: str) -> str:
        return what_of(Budget("b", Decimal(1), **names))  # type: ignore[arg-type]

    assert of() == "everything"
    assert of(org="acme") == "org acme"
    assert of(route="chat") == "chat"
    assert of(route="chat", org="acme", key="prod") == "chat / acme, key prod"
    assert of(key="prod") == "key prod"


def test_a_lowering_is_a_running_guards() -> None:
    text = (
        HEAD.replace("[routes", '[guard]\nmode = "enforce"\n[routes')
        + '[budgets.all]\nper = "month"\nlimit_usd = 1\nat_limit = "lower"\n'
    )
    file = parse(text.encode())
    (one,) = standings_of(file, None, AT)
    lowers = "a running guard lowers its shares, a step at a time"
    assert lowers_words(file, one) == lowers_words(file, one, guard_acts=True) == lowers
    assert lowers_words(file, one, guard_acts=False) == f"{lowers}; none is running"
