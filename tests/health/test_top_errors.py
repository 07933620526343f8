"""The top errors: what there was most of, in bounded memory."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from rollout_console.health.log.record import AccessRecord
from rollout_console.health.windows import top_errors
from rollout_console.health.windows.top_errors import MOST_AT_ONCE, MOST_KEPT, OTHER, TopErrors

NOW = 1_795_000_000.0


def record(
    ago: float, status: int = 503, error: str | None = "overloaded", org: str = "acme",
    request_id: str | None = None, route: str = "chat", side: str = "tokenlab",
) -> AccessRecord:  # fmt: skip
    ts = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=NOW - ago)
    return AccessRecord(ts, route, org, side, status, 1.0, "m", error, request_id)  # type: ignore[arg-type]


def test_the_most_frequent_first_then_the_newest() -> None:
    errors = TopErrors()
    lines = [record(50 - i, request_id=f"r{i}", org=f"o{i % 2}") for i in range(9)]
    lines += [record(5, 400, "bad", request_id="b"), record(4, 429, None), record(3, 200)]
    lines += [record(2, 0, "timeout", side="previous", route="claude")]
    errors.add(lines, NOW)
    top = errors.top(NOW, 300)
    assert [(g.status, g.error, g.count) for g in top] == [
        (503, "overloaded", 9), (0, "timeout", 1), (429, "", 1), (400, "bad", 1),
    ]  # fmt: skip
    assert top[0].request_ids == ("r8", "r7", "r6", "r5", "r4")
    assert top[0].orgs == ("o0", "o1")
    assert top[0].last_at == NOW - 42
    assert (top[1].route, top[1].side, top[1].request_ids) == ("claude", "previous", ())
    assert [g.count for g in errors.top(NOW, 300, limit=1)] == [9]


def test_filters_and_windows() -> None:
    errors = TopErrors()
    errors.add([record(100), record(5, org="b"), record(5, route="claude", side="previous")], NOW)
    assert sum(g.count for g in errors.top(NOW, 60)) == 2
    assert sum(g.count for g in errors.top(NOW, 300)) == 3
    assert sum(g.count for g in errors.top(NOW, 300, org="b")) == 1
    assert sum(g.count for g in errors.top(NOW, 300, route="chat")) == 2
    assert sum(g.count for g in errors.top(NOW, 300, side="previous")) == 1
    assert errors.top(NOW + 4000, 300) == []


def test_times_that_cannot_be() -> None:
    errors = TopErrors()
    errors.add([record(-5000), record(5000)], NOW)
    assert [(g.count, g.last_at) for g in errors.top(NOW, 60)] == [(1, NOW)]


def test_hostile_texts_are_cut_and_groups_are_bounded() -> None:
    errors = TopErrors()
    errors.add([record(1, error="x" * 999 + str(i), request_id="y" * 999) for i in range(9)], NOW)
    (group,) = errors.top(NOW, 60)
    assert (len(group.error), len(group.request_ids[0])) == (60, 100)
    errors.add([record(1, error=f"e{i}") for i in range(2 * MOST_AT_ONCE)], NOW)
    assert sum(map(len, errors._slots.values())) <= MOST_AT_ONCE + 2
    assert errors.top(NOW, 60)[0].error == OTHER
    assert sum(g.count for g in errors.top(NOW, 60, limit=10**6)) == 9 + 2 * MOST_AT_ONCE


def test_memory_is_bounded_over_time() -> None:
    errors = TopErrors()
    for second in range(0, 300, 10):
        lines = [record(-second, error=f"e{i}") for i in range(MOST_AT_ONCE)]
        errors.add(lines, NOW + second)
        assert sum(map(len, errors._slots.values())) <= MOST_KEPT
    assert errors.top(NOW + 300, 60)
    errors.add([], NOW + 300 + top_errors.HORIZON_S + 10)
    assert errors._slots == {}


@given(st.lists(st.tuples(st.integers(0, 59), st.sampled_from((200, 400, 503)),
                          st.sampled_from("ab"), st.text(max_size=3)), max_size=40),
       st.integers(1, 7))  # fmt: skip
def test_counts_are_those_of_the_lines(lines: list[tuple[int, int, str, str]], size: int) -> None:
    errors = TopErrors()
    records = [record(ago, status, error, request_id=i) for ago, status, error, i in lines]
    for start in range(0, len(records), size):
        errors.add(records[start : start + size], NOW)
    top = errors.top(NOW, 60)
    assert sum(g.count for g in top) == sum(status != 200 for _, status, _, _ in lines)
    for group in top:
        mine = [r for r in records if (r.status, r.error) == (group.status, group.error)]
        assert group.count == len(mine)
        assert group.last_at == max(r.at for r in mine)
        newest = {r.request_id: r.at for r in sorted(mine, key=lambda r: r.at) if r.request_id}
        expected = sorted(((at, name) for name, at in newest.items()), reverse=True)[:5]
        assert [newest[name] for name in group.request_ids] == [at for at, _ in expected]
