"""One parse of each piece of CSS for all apps of a test process.

Textual's cache of parsed rules belongs to one app's stylesheet: each app, of the hundreds that are
made here, would parse the same fifty pieces again, for a fifth of the time until its first frame.
"""

from textual.css.model import RuleSet
from textual.css.stylesheet import Stylesheet

_parsed: dict[tuple[object, ...], list[RuleSet]] = {}


def share_parsed_rules() -> None:
    """Let stylesheets with the same variables (of one theme) share what each piece is parsed to."""
    parse = Stylesheet._parse_rules
    themes: dict[frozenset[tuple[str, str]], int] = {}

    def shared(
        self: Stylesheet,
        css: str,
        read_from: tuple[str, str],
        is_default_rules: bool = False,
        tie_breaker: int = 0,
        scope: str = "",
    ) -> list[RuleSet]:
        known: tuple[object, int] = self.__dict__.get("_shares", (None, 0))
        if known[0] is not self._variables:  # another dictionary: variables were set
            theme = themes.setdefault(frozenset(self._variables.items()), len(themes))
            known = self.__dict__["_shares"] = (self._variables, theme)
        key = (known[1], css, read_from, is_default_rules, tie_breaker, scope)
        if key not in _parsed:
            _parsed[key] = parse(self, css, read_from, is_default_rules, tie_breaker, scope)
        return _parsed[key]

    Stylesheet._parse_rules = shared  # type: ignore[method-assign]
