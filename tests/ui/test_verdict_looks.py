"""Verdicts for the filter of home are looked up within a budget: no key waits for 10,000 orgs."""

import time

from rollout_console.ui.screens.home.row_filter import UNSEEN, Judged, RowFilter
from rollout_console.ui.screens.home.rows import Row
from rollout_console.ui.screens.home.verdict_looks import BUDGET_S, EVERY_S, VerdictLooks

ROWS = [Row("chat", f"org-{number}", 100) for number in range(10)]


def slow(row: Row) -> Judged:
    time.sleep(BUDGET_S / 2)
    return Judged("ok" if row.org == "org-0" else "hold", "bake")


def test_a_pass_ends_with_its_budget_and_the_rest_has_its_turn() -> None:
    looks = VerdictLooks()
    found: list[Judged] = []
    now, passes = 1_000.0, 0
    while not found or looks.unseen:
        looks.begin(now, len(ROWS))
        started = time.monotonic()
        found = [looks.look(row, slow) for row in ROWS]
        assert time.monotonic() - started < 5 * BUDGET_S
        assert looks.unseen == found.count(UNSEEN)
        now, passes = now + 1, passes + 1
    assert 3 <= passes <= len(ROWS)
    assert {one.state for one in found} == {"ok", "hold"}
    assert not looks.is_due(now - 1 + EVERY_S / 2)
    assert looks.is_due(now - 1 + EVERY_S)
    looks.begin(now + EVERY_S, len(ROWS))
    assert looks.look(ROWS[0], lambda _: Judged("rollback")).state == "ok", "kept for a while"
    looks.begin(now + 1_000, len(ROWS))
    assert looks.look(ROWS[0], lambda _: Judged("rollback")).state == "rollback"


def test_what_is_unseen_is_not_shown_inverted_either() -> None:
    row = ROWS[0]
    for text in ("ok", "!ok", "bakes", "!bakes"):
        assert not RowFilter(text, lambda _: False, lambda _: UNSEEN)(row)
    assert RowFilter("org-0", lambda _: False, lambda _: UNSEEN)(row)
    assert RowFilter("!acme", lambda _: False, lambda _: UNSEEN)(row)
    assert RowFilter("bakes", lambda _: False, slow)(row)
    assert not RowFilter("!5xx", lambda _: False, lambda _: Judged("hold", "gateway"))(row)
    assert RowFilter("NEW", lambda _: False, lambda _: UNSEEN)(Row("chat", "x", listed=False))
