"""What a console and its cost worker say to each other, in MessagePack frames over pipes.

The console sends one Order and then Requests; the worker answers. A frame is prefixed with its
length in four bytes, big-endian. ``serial`` of an answer is that of the request it belongs to.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Literal

import msgspec

from rollout_console.changes.recorded import Recorded
from rollout_console.cost.bill import Figures, View
from rollout_console.cost.burn import Burn, Runway
from rollout_console.cost.difference import Cause, Item
from rollout_console.cost.side_by_side import SideBySide
from rollout_console.reconcile.piles import Figures as PileFigures
from rollout_console.reconcile.piles import Name, Row
from rollout_console.reconcile.piles import Order as RowOrder
from rollout_console.reconcile.store import KnownKey

CostOrder = Literal["cost", "requests", "per 1,000", "name"]


class Order(msgspec.Struct, frozen=True):
    """The first frame: whose costs, of the last ``span_s`` seconds, and from where.

    ``file`` is the text of the rollout file at ``path``, ``folder`` the folder of the state; paths
    are as the system has them, in bytes. With ``pulls`` the API is asked first, ``before_s``
    seconds back from the end of the period where that is longer than the burn needs; else the
    period ends when the last pull did. ``token`` is the management token, empty without one.
    Without ``keeps`` nothing but records is written.
    """

    path: bytes
    file: bytes
    folder: bytes
    profile: str
    base_url: str
    span_s: float
    token: str = ""
    pulls: bool = False
    before_s: float = 0.0
    recorded: Recorded = Recorded()
    keeps: bool = True

    def __repr__(self) -> str:
        """Return a text without the token."""
        return f"Order(path={self.path!r}, profile={self.profile!r}, pulls={self.pulls})"


# -- requests ------------------------------------------------------------------------------------


class CostRows(msgspec.Struct, frozen=True, tag=True):
    """Asks for rows of a view from the ``skip``-th on, within the names that are ``fixed``."""

    serial: int
    view: View
    fixed: dict[View, str | None]
    text: str
    order: CostOrder
    skip: int
    limit: int


class PileRows(msgspec.Struct, frozen=True, tag=True):
    """Asks for rows of a pile from the ``skip``-th on; with ``reason`` for those of it alone."""

    serial: int
    pile: Name
    reason: str
    text: str
    order: RowOrder
    skip: int
    limit: int


class Explain(msgspec.Struct, frozen=True, tag=True):
    """Asks why the bill differs from that of the same period ``shift_s`` seconds before."""

    serial: int
    shift_s: float


class Parts(msgspec.Struct, frozen=True, tag=True):
    """Asks for the parts of one cause of the difference that was explained last."""

    serial: int
    cause: Cause
    text: str
    skip: int
    limit: int


class Export(msgspec.Struct, frozen=True, tag=True):
    """Asks to write rows to ``target``: of a view of cost, of a pile, or of all piles.

    With ``why`` it is every part of the difference that was explained last.
    """

    serial: int
    target: bytes
    kind: Literal["csv", "jsonl"]
    view: View | None = None
    pile: Name | None = None
    why: bool = False


Request = CostRows | PileRows | Explain | Parts | Export


# -- answers -------------------------------------------------------------------------------------


class Pulling(msgspec.Struct, frozen=True, tag=True):
    """How far a pull is: ``part`` of all, from 0 to 1."""

    part: float
    key: int
    keys: int
    name: str
    records: int
    requests: int


class Waiting(msgspec.Struct, frozen=True, tag=True):
    """The pull waits, and for what."""

    words: str


class Preview(msgspec.Struct, frozen=True, tag=True):
    """What the records alone tell, before they are matched with the log, which may take long.

    ``cost`` is that of all records from ``since`` to ``until`` (epoch seconds).
    """

    since: float
    until: float
    cost: Decimal
    burn: Burn
    keys: Sequence[KnownKey]


class PileSum(msgspec.Struct, frozen=True):
    """A pile, or with ``reason`` the part of it that has it; ``is_gap`` is what asks to act."""

    pile: Name
    reason: str
    figures: PileFigures
    is_gap: bool


class Loaded(msgspec.Struct, frozen=True, tag=True):
    """All is matched: rows can be asked for. Times are epoch seconds.

    ``horizon`` is up to when records were read, None where nothing was pulled yet; ``words`` say
    what limits the result. ``lines`` are TokenLab's of the log, ``uncharged`` of them cost nothing,
    ``edge_lines`` have their record before or after the period.
    """

    since: float
    until: float
    now: float
    horizon: float | None
    is_settling: bool
    bill: Figures
    without_line: Figures
    burn: Burn
    keys: Sequence[KnownKey]
    piles: Sequence[PileSum]
    has_gap: bool
    lines: int
    uncharged: int
    edge_lines: int
    pulled: int
    words: Sequence[str]


class Money(msgspec.Struct, frozen=True, tag=True):
    """The runways of balance and keys with a limit; ``problem`` says why there is none."""

    balance: Runway | None = None
    limits: Sequence[Runway] = ()
    problem: str = ""


class CostRow(msgspec.Struct, frozen=True):
    """A row of a view: its name (an id for a key), what it is called, and its two sides if known.

    ``name`` is None for what no line of the log explains.
    """

    name: str | None
    label: str
    figures: Figures
    side: SideBySide | None = None


class CostPage(msgspec.Struct, frozen=True, tag=True):
    """Rows of a view; ``total`` of them pass the filter, which have ``sums`` together."""

    serial: int
    rows: Sequence[CostRow]
    total: int
    sums: Figures


class PilePage(msgspec.Struct, frozen=True, tag=True):
    """Rows of a pile; there are no more where ``is_end``, and ``scanned`` were looked at so far.

    A page may have fewer rows than were asked for, or none: a filter is looked for in bounded time.
    """

    serial: int
    rows: Sequence[Row]
    scanned: int
    is_end: bool


class CauseSum(msgspec.Struct, frozen=True):
    """A cause of a difference: its exact sum, how many parts it has, and the largest of them."""

    cause: Cause
    amount: Decimal
    parts: int
    largest: Item


class Explained(msgspec.Struct, frozen=True, tag=True):
    """What explains a difference; ``since`` and ``until`` are those of the earlier period."""

    serial: int
    since: float
    until: float
    earlier: Decimal
    now: Decimal
    causes: Sequence[CauseSum]
    is_by_place: bool
    words: Sequence[str]


class PartsPage(msgspec.Struct, frozen=True, tag=True):
    """Parts of a cause; ``total`` of them pass the filter."""

    serial: int
    rows: Sequence[Item]
    total: int


class Exported(msgspec.Struct, frozen=True, tag=True):
    """An export was written."""

    serial: int


class Failed(msgspec.Struct, frozen=True, tag=True):
    """A request came to nothing, or with serial 0 the worker did, which ends."""

    serial: int
    sentence: str


Answer = (
    Pulling | Waiting | Preview | Loaded | Money | CostPage | PilePage | Explained | PartsPage
    | Exported | Failed
)  # fmt: skip

encode = msgspec.msgpack.Encoder().encode
decode_order = msgspec.msgpack.Decoder(Order).decode
decode_request = msgspec.msgpack.Decoder(Request).decode
decode_answer = msgspec.msgpack.Decoder(Answer).decode
