"""Windows of a minute to a day: counted as by hand, by class and by model, in bounded memory."""

import random
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollout_console.health.log.record import AccessRecord, StatusClass
from rollout_console.health.windows import retention as kept_module
from rollout_console.health.windows.retention import MOST_MODELS, OTHER_MODELS
from rollout_console.health.windows.series import LEVELS
from rollout_console.health.windows.shared_slot_counts import SharedSlotCounts
from rollout_console.health.windows.slot_counts import SLOT_SHIFT, SlotCounts
from rollout_console.health.windows.windows import Windows

NOW = 1_795_000_123.25
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
STATUSES = (200, 200, 404, 401, 402, 429, 503, 0)
WINDOWS_S = (60, 300, 900, 1800, 3600, 7200, 86_400)


def record(
    at: float, status: int = 200, latency: float = 100.0, org: str = "acme", model: str = "m"
) -> AccessRecord:
    ts = EPOCH + timedelta(milliseconds=round(at * 1000))
    return AccessRecord(ts, "chat", org, "tokenlab", status, latency, model)


def counted(windows: Windows) -> int:
    tracks = (*windows.kept.tracks.values(), *windows.kept.models.values())
    return sum(len(parts) for track in tracks for parts in track.parts)


def width_for(window_s: float) -> int:
    return next(width for width, keep in LEVELS if keep >= window_s)


ages = st.one_of(
    st.floats(0, 1000), st.floats(800, 4000), st.floats(3500, 86_000),
    st.sampled_from((0.0, 899.9, 900.0, 900.1, 3599.0, 3600.0, 3600.5)),
)  # fmt: skip
given_lines = st.lists(
    st.tuples(ages, st.sampled_from(STATUSES), st.sampled_from("ab"), st.sampled_from("mn")),
    max_size=80,
)


@settings(max_examples=150)
@given(given_lines, st.integers(1, 30), st.randoms(use_true_random=False))
def test_every_window_counts_as_by_hand_up_to_a_part(
    lines: list[tuple[float, int, str, str]], size: int, rng: random.Random
) -> None:
    lines.sort(reverse=True)
    if rng.random() < 0.5:
        rng.shuffle(lines)
    records = [record(NOW - ago, status, 50.0, org, model) for ago, status, org, model in lines]
    windows = Windows()
    for start in range(0, len(records), size):
        windows.add(records[start : start + size], NOW)
    for window_s in WINDOWS_S:
        for org in (None, "a"):
            width = 5 if org and window_s <= 900 else width_for(window_s)
            mine = [r for r in records if org in (None, r.org)]
            sure = [r for r in mine if r.at >= NOW - window_s + width]
            at_most = [r for r in mine if r.at >= NOW - window_s]
            found = windows.summary(NOW, window_s, "chat", org)
            assert len(sure) <= found.requests <= len(at_most)
            for cls in StatusClass:
                assert found.by_class[cls] >= sum(r.status_class is cls for r in sure)
                assert found.by_class[cls] <= sum(r.status_class is cls for r in at_most)
            if mine:
                assert found.last_at == pytest.approx(max(r.at for r in mine), abs=1e-5)
        whole = windows.summary(NOW, window_s, "chat")
        assert windows.summary(NOW, window_s) == whole
        by_model = windows.models(NOW, window_s, "chat", "tokenlab")
        assert sum(one.requests for one in by_model.values()) == whole.requests
        classes = windows.class_series(NOW, window_s, 60, "chat")
        assert {len(points) for points in classes.values()} == {60}
        in_points = sum(map(sum, classes.values()))
        edge = NOW - window_s
        assert in_points <= sum(r.at >= edge for r in records)
        assert in_points >= sum(r.at >= edge + window_s / 60 + width_for(window_s) for r in records)


def test_a_chart_of_one_org_for_an_hour_and_of_a_route_for_a_day() -> None:
    windows = Windows()
    for minute in range(60 * 24, 0, -1):
        at = NOW - minute * 60
        windows.add([record(at, 503 if minute % 2 else 200)] * 4, at + 1)
    org = windows.series(NOW, 3600, 60, "5xx", "chat", "acme")
    assert set(org[:-1]) == {0.0, 100.0}
    day = windows.series(NOW, 86_400, 60, "5xx", "chat")
    assert all(value == pytest.approx(50, abs=6) for value in day[1:-1])
    rates = windows.series(NOW, 86_400, 60, "rate", "chat")
    assert all(rate == pytest.approx(4 / 60, rel=0.1) for rate in rates[1:-1] if rate)
    assert windows.summary(NOW, 86_400, "chat", "acme").rate_per_s == pytest.approx(4 / 60, 0.05)


def test_lines_on_both_sides_of_where_a_level_ends_in_the_midst_of_a_slot() -> None:
    edge = NOW - 900
    assert (edge - 0.1) // 5 == (edge + 1.5) // 5
    windows = Windows()
    windows.add([record(edge - 0.1), record(edge + 1.5)], NOW)
    assert windows.summary(NOW, 900, "chat").requests == 1
    assert windows.summary(NOW, 1800, "chat").requests == 2


def test_classes_are_counted_whatever_their_latencies() -> None:
    windows = Windows()
    windows.add([record(NOW - 1, 503, 10.0 * 2**i) for i in range(9)], NOW)
    assert windows.class_series(NOW, 60, 1, "chat")[StatusClass.GATEWAY] == [9]


def test_points_narrower_than_parts_share_in_a_chart_and_are_counted_once() -> None:
    windows = Windows()
    windows.add([record(NOW - 7200, 503)] * 3, NOW)
    values = windows.series(NOW, 86_400, 1440, "5xx", "chat")
    assert sum(value == 100.0 for value in values) == 5
    classes = windows.class_series(NOW, 86_400, 1440, "chat")
    assert sum(classes[StatusClass.GATEWAY]) == 3
    assert sum(classes[StatusClass.OK]) == 0


def test_a_chart_is_not_an_old_one_after_more_was_added() -> None:
    windows = Windows()
    windows.add([record(NOW - 1)], NOW)
    assert windows.series(NOW, 60, 1, "5xx") == [0.0]
    windows.add([record(NOW - 1, 503)], NOW)
    assert windows.series(NOW, 60, 1, "5xx") == [50.0]


def test_ahead_is_now_and_late_is_only_seen() -> None:
    windows = Windows(horizon_s=600)
    windows.add([record(NOW + 1), record(NOW + 500, 503), record(NOW - 700, org="old")], NOW)
    assert (windows.skewed, windows.late) == (1, 1)
    found = windows.summary(NOW, 60, "chat")
    assert (found.requests, found.last_at) == (2, NOW)
    assert windows.summary(NOW, 600, "chat", "old").requests == 0
    assert windows.last_seen("chat", "old", "tokenlab") == pytest.approx(NOW - 700, abs=1e-3)


@pytest.mark.parametrize("ts", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_the_ends_of_time(ts: str) -> None:
    windows = Windows()
    windows.add([AccessRecord(datetime.fromisoformat(ts), "chat", "o", "tokenlab", 200, 1.0)], NOW)
    assert windows.late + windows.skewed == 1


def test_models_of_a_route_in_order_and_bounded() -> None:
    windows = Windows()
    windows.add([record(NOW - 1, 503, model="small"), record(NOW - 2, model="big")], NOW)
    windows.add([record(NOW - 3, model="big")], NOW)
    found = windows.models(NOW, 300, "chat", "tokenlab")
    assert [(name, one.requests) for name, one in found.items()] == [("big", 2), ("small", 1)]
    assert found["small"].percent_5xx == 100
    assert windows.models(NOW, 300, "chat", "previous") == {}
    assert windows.models(NOW, 300, "other", "tokenlab") == {}
    windows.add([record(NOW - 1, model=f"m{i}") for i in range(3 * MOST_MODELS)], NOW)
    found = windows.models(NOW, 300, "chat", "tokenlab")
    assert len(found) == MOST_MODELS + 1
    assert next(iter(found)) == OTHER_MODELS
    assert sum(one.requests for one in found.values()) == 3 + 3 * MOST_MODELS


def test_old_models_make_room_for_new_ones() -> None:
    windows = Windows(horizon_s=60)
    windows.add([record(NOW, model=f"m{i}") for i in range(MOST_MODELS)], NOW)
    for i in range(10):
        windows.add([record(NOW + 200 + 2 * i, model="m0")], NOW + 200 + 2 * i)
    windows.add([record(NOW + 220, model="new")], NOW + 220)
    assert "new" in windows.models(NOW + 220, 60, "chat", "tokenlab")


@pytest.mark.slow
def test_memory_is_flat_after_the_first_hour() -> None:
    windows, rng, sizes = Windows(), random.Random(1), []
    for second in range(0, 4 * 3600, 10):
        now = NOW + second
        windows.add(
            [
                record(now - rng.uniform(0, 10), 200, rng.lognormvariate(6, 0.5), f"o{org}")
                for org in rng.sample(range(200), 40)
            ],
            now,
        )
        if second % 3600 == 0 and second:
            fine = [t.parts[0] for k, t in windows.kept.tracks.items() if k[1]]
            sizes.append(sum(map(len, fine)))
    assert max(sizes) <= 40 * 360 * 9 / 8 * 1.1
    assert sizes[-1] <= sizes[0] * 1.2


def test_memory_of_many_lines_is_that_of_their_counts() -> None:
    lines = [record(NOW - i % 3000, 200, 10.0 + i % 50, f"o{i % 20}") for i in range(30_000)]
    windows = Windows()
    windows.add(lines, NOW)
    once = counted(windows)
    windows.add(lines, NOW)
    assert counted(windows) == once  # the same codes in the same slots, counted higher


def test_more_counts_than_may_be_kept_shorten_what_is_kept_of_orgs() -> None:
    rng = random.Random(1)
    windows = Windows(most_entries=80_000)
    assert windows.kept_s("o1", NOW) == windows.kept_s(None, NOW) == 86_400
    for second in range(1200):
        now = NOW + second
        windows.add([record(now, 200, 2.0 ** rng.randrange(10), f"o{i}") for i in range(100)], now)
        assert counted(windows) < 81_500
    fine = windows.kept.tracks["chat", "o1", "tokenlab"].parts[0]
    assert fine.counts(0, int(NOW // 5) + 120) == {}
    found = windows.summary(NOW + 1199, 1200, "chat", "o1")
    assert found.requests == pytest.approx(1200, abs=300)  # of parts of five minutes
    assert windows.kept_s(None, NOW + 1199) == 86_400
    assert windows.summary(NOW + 1199, 86_400, "chat").requests == 100 * 1200


@pytest.mark.slow
def test_days_of_orgs_are_shortened_alone_and_say_how_far_they_reach() -> None:
    windows = Windows(most_entries=40_000)
    for minute in range(60 * 24, 0, -1):
        at = NOW - minute * 60
        windows.add([record(at, 200, 2.0 ** (i % 10), f"o{i}") for i in range(100)], at)
    kept_s = windows.kept_s("o1", NOW)
    assert 3600 <= kept_s < 80_000
    found = windows.summary(NOW, 86_400, "chat", "o1")
    assert found.requests == pytest.approx(kept_s / 60, abs=6)
    assert windows.summary(NOW, 3600, "chat", "o1").requests == pytest.approx(60, abs=1)
    assert windows.summary(NOW, 86_400, "chat").requests == pytest.approx(100 * 1440, abs=500)


def test_figures_of_one_org_reach_a_day_back() -> None:
    windows = Windows()
    for minute in range(60 * 24, 0, -1):
        windows.add([record(NOW - minute * 60, 503 if minute > 720 else 200)], NOW)
    day = windows.series(NOW, 86_400, 24, "5xx", "chat", "acme")
    assert day[1:11] == [100.0] * 10
    assert day[14:] == [0.0] * 10
    found = windows.summary(NOW, 86_400, "chat", "acme")
    assert found.requests == pytest.approx(60 * 24, abs=5)


def test_more_names_than_may_be_kept_lose_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_module, "MOST_TRACKS", 100)
    windows = Windows()
    for i in range(1000):
        windows.add([record(NOW + i, org=f"o{i}")], NOW + i)
    assert len(windows.kept.tracks) <= 100
    assert windows.last_seen("chat", "o999", "tokenlab") == pytest.approx(NOW + 999, abs=1e-3)
    assert windows.last_seen("chat", "o0", "tokenlab") is None
    assert windows.summary(NOW + 999, 900).requests == 900


@given(
    st.lists(
        st.tuples(st.integers(0, 6), st.integers(0, 40), st.integers(0, 4095),
                  st.integers(1, 3_000_000)), max_size=60),
    st.integers(0, 6), st.integers(0, 40), st.integers(0, 41),
)  # fmt: skip
def test_shared_parts_add_up(
    added: list[tuple[int, int, int, int]], which: int, first: int, end: int
) -> None:
    shared = SharedSlotCounts(300, 86_400, 10_000)
    tracks = [shared.of_one(SlotCounts(5, 3600)) for _ in range(7)]
    expected: dict[int, int] = {}
    for track, slot, code, count in added:
        tracks[track].add_slots({slot: {code: count, 7: 1}})
        if track == which and first <= slot < end:
            for of, times in ((code, count), (7, 1 if code != 7 else 0)):
                expected[of] = expected.get(of, 0) + times
    expected = {code: count for code, count in expected.items() if count}
    assert tracks[which].counts(first, end) == expected
    shared._settle()
    assert tracks[which].counts(first, end) == expected
    shared.forget(first)
    assert tracks[which].counts(0, first) == {}
    assert tracks[which].counts(first, end) == expected


@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 4095), st.integers(1, 3_000_000))),
    st.integers(0, 40), st.integers(0, 41), st.integers(1, 20),
)  # fmt: skip
def test_parts_add_up(
    added: list[tuple[int, int, int]], first: int, end: int, at_once: int
) -> None:
    parts = SlotCounts(1, 3600)
    expected: dict[int, int] = {}
    for start in range(0, len(added), at_once):
        slots: dict[int, dict[int, int]] = {}
        for slot, code, count in added[start : start + at_once]:
            of_slot = slots.setdefault(slot, {})
            of_slot[code] = of_slot.get(code, 0) + count
            if first <= slot < end:
                expected[code] = expected.get(code, 0) + count
        parts.add_slots(slots)
    entries = list(parts.entries())
    assert entries == sorted(entries, key=lambda entry: entry >> SLOT_SHIFT)
    assert parts.counts(first, end) == expected
    parts.forget(first)
    assert parts.counts(0, first) == {}
    assert parts.counts(first, end) == expected
