"""The result of a check rule."""

import msgspec


class Result(msgspec.Struct, frozen=True):
    """The result of one rule at one place: whether it holds, why, and the fix if not."""

    rule: str
    ok: bool
    where: str
    reason: str
    fix: str = ""

    def concerns(self, route: str) -> bool:
        """Return whether it concerns a route: a result of that route, or of the file as such."""
        return not self.where.startswith("routes.") or self.where.startswith(f"routes.{route}.")

    def as_json(self) -> dict[str, str | bool]:
        """Return the JSON object that ``check --json`` prints."""
        return {
            "rule": self.rule,
            "ok": self.ok,
            "where": self.where,
            "reason": self.reason,
            "fix": self.fix,
        }


def result_of(rule: str, where: str, problem: str, good: str, fix: str) -> Result:
    """Return a result that holds, with the reason ``good``, unless ``problem`` is not empty."""
    return Result(rule, not problem, where, problem or good, fix if problem else "")
