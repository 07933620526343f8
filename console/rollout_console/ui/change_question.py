"""What the confirm dialog asks for a planned change: its effect, and what speaks against it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from rollout_console.changes.effect_words import left_out_by_reason
from rollout_console.changes.plan import Plan
from rollout_console.changes.share_group import share_words

if TYPE_CHECKING:
    from rollout_console.ui.dialogs.confirm import Question

_MOST_MOVES = 4
_TITLES = {
    "rollback": "ROLL BACK", "undo": "Undo", "restore": "Restore", "resume": "Resume",
    "phase": "Change the phase", "model": "Change the model",
}  # fmt: skip


class Hold(msgspec.Struct, frozen=True):
    """An objection to a change: reason, who holds it, notes to read, prompt for the override."""

    reason: str
    by: str = "the guard holds"
    notes: tuple[str, ...] = ()
    asks: str = "type a reason to override the guard"


def question(
    plan: Plan,
    hold: Hold,
    warning: str = "",
    cuts: str = "",
    figures: Sequence[str] = (),
    wider: str = "",
) -> "Question":
    """Return the confirm dialog's question for ``plan``, with the objection ``hold``.

    ``cuts`` says what the change would cut or cost, empty where nothing. ``figures`` are the lines
    that a rollback is decided by, and come first. ``wider`` names what else may be asked for.
    """
    from rollout_console.ui.dialogs.confirm import Question

    raises = plan.direction == "up"
    notes = [*([plan.rescues] if plan.rescues else []), *hold.notes]
    notes += [cuts] if cuts else []
    moves = plan.moves
    sets = plan.parts if plan.action == "set" else ()
    if len(moves) > 1 and not sets:
        notes += [f"  {move}" for move in moves[:_MOST_MOVES]]
        if len(moves) > _MOST_MOVES:
            notes.append(f"  … and {len(moves) - _MOST_MOVES} more")
    left_out = left_out_by_reason(plan.left_out)
    listed = [*map(share_words, sets), *(f"left out: {one}" for one in left_out)]
    # No typed name to undo one's own recent rollback: it is undone as fast as it was made.
    asks_name = raises and plan.wide and not (plan.regrets and not hold.reason)
    titles = {"up": "Raise", "down": "Lower", "none": "Change"}
    title = _TITLES.get(plan.action, titles[plan.direction])
    if sets and raises and not all(move.raises for move in moves):
        title = "Raise and lower"
    if plan.parts and plan.action in ("rollback", "set"):
        title += f": {len(plan.parts)} lines"
    return Question(
        title=f"{title}, on the last good version" if plan.rescues else title,
        effect=plan.effect,
        # A rollback shows no diff: its effect must be readable at a glance.
        diff=plan.prepared.diff if raises or plan.action != "rollback" else (),
        notes=tuple(notes),
        type_name=plan.asked_name if asks_name else "",
        held=hold.reason,
        held_by=hold.by,
        why=hold.asks,
        warning=warning,
        rolls_back=plan.action == "rollback",
        listed=tuple(listed),
        wider=wider,
        figures=tuple(figures),
    )
