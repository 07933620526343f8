"""The columns of the money screen: as wide as the terminal, with amounts that can be compared."""

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from rollout_console.ui.screens.money.columns import Column, Layout, dollars, price_text

Pair = tuple[str, Decimal]
AMOUNTS = st.decimals(-(10**12), 10**12, allow_nan=False, allow_infinity=False, places=9)
COLUMNS = (
    Column[Pair]("name", lambda row: (row[0], ""), "middle", weight=1, least=6),
    Column[Pair]("cost", lambda row: (dollars(row[1].normalize()), ""), "point"),
    Column[Pair]("part", lambda row: ("12.5%", ""), "right", spare=1),
)


@given(
    rows=st.lists(st.tuples(st.sampled_from(["acme", "日本語" * 9, ""]), AMOUNTS), min_size=1),
    width=st.integers(12, 200),
)
def test_lines_are_as_wide_as_the_terminal_and_points_are_aligned(
    rows: list[Pair], width: int
) -> None:
    layout = Layout(COLUMNS, rows, width)
    head = "".join(text for text, _ in layout.header())
    lines = ["".join(text for text, _ in layout.row(row)) for row in rows]
    points = set()
    for line, (_, amount) in zip(lines, rows, strict=True):
        whole = dollars(amount.normalize())
        if width >= 60:  # nothing is cut
            assert cell_len(line) == width
            assert whole in line
            begins = line.index(whole)
            points.add(cell_len(line[:begins]) + len(whole.partition(".")[0]))
        else:
            assert whole in line or "…" in line, "what is cut says so"
    assert len(points) <= 1
    assert cell_len(head) == width + 1


def test_a_price_is_rounded_and_an_amount_is_not() -> None:
    assert price_text(Decimal("95.88681999")) == "$95.8868"
    assert price_text(Decimal("0.00000049")) == "$0.00"
    assert price_text(None) == "-"
    assert dollars(Decimal("-1234.5670")) == "-$1,234.5670"
    assert dollars(Decimal("0.1"), signed=True) == "+$0.1"
