"""What a rule says."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Result:
    """One rule on one place: whether it holds, why, and what to do if not."""

    rule: str
    ok: bool
    where: str
    reason: str
    fix: str = ""

    def concerns(self, route: str) -> bool:
        """Return whether it is about a route: its own, or one about the whole file."""
        return not self.where.startswith("routes.") or self.where.startswith(f"routes.{route}.")

    def as_json(self) -> dict[str, str | bool]:
        """Return the shape that ``check --json`` prints."""
        return {
            "rule": self.rule,
            "ok": self.ok,
            "where": self.where,
            "reason": self.reason,
            "fix": self.fix,
        }


def result_of(rule: str, where: str, problem: str, good: str, fix: str) -> Result:
    """Return the result of a rule: it holds, for the reason ``good``, unless there is a problem."""
    return Result(rule, not problem, where, problem or good, fix if problem else "")
