"""A verdict in the home table: in full where there is room, briefly where there is not."""

import pytest

from rollout_console.guard.evidence.verdict import Verdict
from rollout_console.guard.monitor import Health
from rollout_console.ui.screens.home.cells import RowCells
from rollout_console.ui.screens.home.rows import Row

REFUSED = Verdict(
    "rollback",
    "TokenLab refuses the key: 401/403 on 84%",
    "auth",
    brief="auth 84%",
    advice="roll back, or give it a working key: 2 in the console",
)
SICK = Verdict(
    "rollback", "5xx 80% in 33 s, 40 of 50, limit 2%; 92% of 5xx are globex.eu", "gateway"
)

DEAD = Verdict("rollback", "5xx 100% in 9 s, 200 of 200, limit 2%", "gateway")


def shown(verdict: Verdict, width: int, *, of_route: bool = False) -> tuple[str, str]:
    """Return the verdict's words in a table of a width in cells, and their style."""
    row = Row("chat", "acme", 2500)
    health = Health(100, 1.0, 84.0, 0.0, 100.0, True, False, False, verdict)
    cells = RowCells(width)
    points = [None] * cells.points
    text, style = cells.org_row(row, health, points, "", False, of_route=of_route)[-1]
    return text.strip(), style


@pytest.mark.parametrize(
    ("verdict", "width", "words"),
    [
        (DEAD, 95, "ROLL BACK: 5xx 100% in 9 s"),
        (DEAD, 80, "ROLL BACK: 5xx"),
        (DEAD, 78, "ROLL BACK: 5xx"),
        (DEAD, 70, "ROLL BACK"),
        (DEAD, 40, "ROLL BACK"),
        (REFUSED, 190, f"ROLL BACK: {REFUSED.reason}; {REFUSED.advice}"),
        (REFUSED, 130, f"ROLL BACK: {REFUSED.reason}"),
        (REFUSED, 80, "ROLL BACK: auth 84%"),
        (SICK, 160, f"ROLL BACK: {SICK.reason}"),
        (SICK, 125, "ROLL BACK: 5xx 80% in 33 s, 40 of 50, limit 2%"),
        (SICK, 80, "ROLL BACK: 5xx"),
    ],
)
def test_the_words_fit_and_look_like_an_alarm(verdict: Verdict, width: int, words: str) -> None:
    assert shown(verdict, width) == (words, "table--bad")


@pytest.mark.parametrize(
    ("width", "words"),
    [(130, "ROLL BACK with its route"), (80, "with its route"), (40, "ROLL BACK")],
)
def test_an_org_says_that_its_verdict_is_its_routes(width: int, words: str) -> None:
    assert shown(DEAD, width, of_route=True) == (words, "table--bad")


@pytest.mark.parametrize("longest", [4, 14, 40])
@pytest.mark.parametrize(("width", "words"), [(120, "5 m"), (80, " 5 m"), (40, "over 5 m")])
def test_the_header_says_over_which_time_the_numbers_are(
    width: int, words: str, longest: int
) -> None:
    cells = RowCells(width, longest)
    for window in ("5 m", "60 s to 10 m"):
        ((line, _),) = cells.header("file", window)
        assert len(line) == width
        said = tuple(f" {one} {window}" for one in ("over", "numbers", "numbers of"))
        assert line.endswith(said) or (
            line.rstrip().endswith("  verdict") and len(window) > cells.verdict - 6
        )
    ((line, _),) = cells.header("file", "5 m")
    assert line.endswith(words)


def test_no_number_is_cut_off_in_a_narrow_terminal() -> None:
    health = Health(100, 1.0, 84.0, 100.0, 861.0, True, False, False, DEAD)
    for width in range(20, 200):
        cells = RowCells(width)
        pieces = cells.org_row(Row("chat", "acme", 2500), health, [None] * cells.points, "", False)
        numbers = "".join(text for text, _ in pieces[1:-1])[:width].split()
        assert set(numbers) <= {"25", "1.0", "84%", "100%", "861"}, width


@pytest.mark.parametrize(
    ("verdict", "sick", "words"),
    [
        (Verdict("ok", "", ""), 0, "ok; ↩2 rolled back"),
        (Verdict("hold", "105 of 133 ok", "data", brief="105/133"), 0, "hold: 105 of 133 ok"),
        (Verdict("ok", "", ""), 1, "1 org sick"),
        (DEAD, 0, "ROLL BACK: 5xx"),
    ],
)
def test_a_folded_route_hides_no_rolled_back_org(verdict: Verdict, sick: int, words: str) -> None:
    health = Health(100, 1.0, 84.0, 0.0, 100.0, True, False, False, verdict)
    cells = RowCells(80)
    row = Row("chat", None, lines=5, folded=5)
    pieces = cells.route(row, health, [None] * cells.points, "", sick, False, latched=2)
    assert pieces[-1][0].strip() == words
    assert pieces[1][0].strip() == "↩2", "in place of a percent, which a route has none of"


def test_orgs_that_differ_at_their_ends_look_different() -> None:
    health = Health(0, 0.0, 0.0, 0.0, 0.0, True, False, False, Verdict("hold", "no data", "data"))
    names = [f"globex-incorporated-production-{region}" for region in ("eu-west-1", "us-east-1")]
    for width in (60, 80, 120, 200):
        cells = RowCells(width, max(map(len, names)))
        none = [None] * cells.points
        drawn = [
            cells.org_row(Row("chat", name, 100), health, none, "", False)[0][0] for name in names
        ]
        assert drawn[0] != drawn[1], width
        assert len({len(text) for text in drawn}) == 1
