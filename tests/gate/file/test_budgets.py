"""Budgets and the least runway in the rollout file, each bad one with its place."""

from decimal import Decimal

import pytest

from rollout_gate.file.errors import FileError
from rollout_gate.file.model import Budget
from rollout_gate.file.parse import parse

HEAD = 'schema = 1\nalgorithm = "fractional-v3"\n'
ROUTES = (
    '[routes.chat]\nformat = "openai_chat_completions"\n[routes.chat.orgs]\nacme = 1\n'
    '[routes.batch]\nformat = "openai_chat_completions"\ndefault_percent = 5\n'
)


def budget_of(text: str) -> Budget:
    (found,) = parse(f"{HEAD}[budgets.b]\n{text}\n{ROUTES}".encode()).budgets.values()
    return found


def warned(text: str) -> list[str]:
    return [str(one) for one in parse(f"{HEAD}[budgets.b]\n{text}\n{ROUTES}".encode()).warnings]


def test_a_budget_says_whose_how_much_and_what_then() -> None:
    assert budget_of('per = "week"\nlimit_usd = 2500.5') == Budget("b", Decimal("2500.5"), "week")
    whole = 'per = "day"\nlimit_usd = "0.10"\norg = "acme"\nroute = "chat"\nkey = "prod"\n'
    assert budget_of(f'{whole}at_limit = "lower"') == Budget(
        "b", Decimal("0.10"), "day", "chat", "acme", "prod", "lower"
    )
    assert parse((HEAD + ROUTES).encode()).budgets == {}


@pytest.mark.parametrize(
    ("text", "place", "says"),
    [
        ('per = "day"', (3, 1), "needs 'limit_usd': an amount of US dollars such as \"2500\""),
        ("limit_usd = 1", (3, 1), "needs 'per': one of day, week, month"),
        ('limit_usd = 1\nper = "year"', (5, 7), "must be one of day, week, month, not 'year'"),
        ('per = "day"\nlimit_usd = 0', (5, 13), "must be an amount above 0, not 0"),
        ('per = "day"\nlimit_usd = "0.00"', (5, 13), "must be an amount above 0"),
        ('per = "day"\nlimit_usd = -1', (5, 13), "must be an amount under 1000000000, not -1"),
        ('per = "day"\nlimit_usd = 1e400', (5, 13), "must be an amount under"),
        ('per = "day"\nlimit_usd = nan', (5, 13), "not NaN or infinity"),
        ('per = "day"\nlimit_usd = "$5"', (5, 13), "must be an amount such as \"2500\", not '$5'"),
        ('per = "day"\nlimit_usd = true', (5, 13), "must be a number, not a bool"),
        ('per = "day"\nlimit_usd = 1\norg = ""', (6, 7), "is empty; write a name, or leave it out"),
        ('per = "day"\nlimit_usd = 1\nkey = 3', (6, 7), "must be a string, not a number"),
        ('per = "day"\nlimit_usd = 1\nat_limit = "stop"', (6, 12), "must be one of hold, lower"),
    ],
)
def test_a_bad_budget_names_its_place(text: str, place: tuple[int, int], says: str) -> None:
    with pytest.raises(FileError) as caught:
        budget_of(text)
    (problem,) = caught.value.problems
    assert says in str(problem)
    assert (problem.line, problem.column) == place


def test_what_is_no_table_of_tables_is_an_error() -> None:
    for text, says in (("budgets = 5\n", "budgets must be a table"),
                       ("[budgets]\nb = 5\n", "budgets.b must be a table")):  # fmt: skip
        with pytest.raises(FileError, match=says):
            parse(f"{text if text[0] == 'b' else ''}{HEAD}{text if text[0] == '[' else ''}{ROUTES}"
                  .encode())  # fmt: skip


def test_a_route_or_an_org_that_is_not_there_is_a_warning_with_its_line() -> None:
    head = 'per = "day"\nlimit_usd = 1\n'
    (said,) = warned(f'{head}route = "caht"')
    assert said.startswith("line 6, column 9: budgets.b.route names a route that the file does not")
    (said,) = warned(f'{head}org = "acmee"\nroute = "chat"')
    assert said.startswith("line 6, column 7: budgets.b.org names an org without a line on the")
    # By a default share an org without a line may have traffic.
    assert warned(f'{head}org = "acmee"') == []
    assert warned(f'{head}org = "acme"\nroute = "chat"') == []
    (said,) = warned(f"{head}limits_usd = 5")
    assert "did you mean 'limit_usd'?" in said


def test_the_least_runway_is_the_files_or_the_routes() -> None:
    text = f'{HEAD}[guard]\nmin_runway = "7d"\n{ROUTES}[routes.batch.guard]\nmin_runway = "36h"\n'
    file = parse(text.encode())
    assert file.routes["chat"].guard.min_runway_s == 7 * 86_400
    assert file.least_runways_s == (7 * 86_400, 36 * 3600)
    assert parse((HEAD + ROUTES).encode()).least_runways_s == ()
    with pytest.raises(FileError, match="must be from 3600 s to 86400000 s"):
        parse(text.replace('"7d"', '"1m"').encode())
