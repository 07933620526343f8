"""``[health]`` with a Prometheus: what is refused, and how placeholders are filled in."""

import pytest

from rollout_gate.bucketing import ALGORITHM
from rollout_gate.file.errors import FileError
from rollout_gate.file.health_queries import MOST_QUERY, expanded, problem_of
from rollout_gate.file.model import RolloutFile
from rollout_gate.file.parse import parse

_TOP = f'schema = 1\nalgorithm = "{ALGORITHM}"\n[health]\n'
_END = '\n[routes.chat]\nformat = "openai_chat_completions"\n'


def parsed(health: str) -> RolloutFile:
    return parse(f"{_TOP}{health}{_END}".encode())


def test_a_prometheus_with_its_settings_is_read() -> None:
    file = parsed(
        'prometheus = "https://prom.example/base/"\nprometheus_step = "30s"\n'
        'prometheus_token_file = "token"\nprometheus_ca_file = "ca.pem"\n'
        '[health.queries]\nrequests = "a[$step]"\nnewest = "b"\nrepeated = ""\n'
    )
    assert file.prometheus is not None
    assert file.prometheus.url == "https://prom.example/base"
    assert file.prometheus.step_s == 30
    assert (file.prometheus.token_file, file.prometheus.ca_file) == ("token", "ca.pem")
    assert file.prometheus.queries == {"requests": "a[$step]", "newest": "b", "repeated": ""}
    assert not file.warnings


def test_without_a_prometheus_there_is_none_and_its_settings_are_a_warning() -> None:
    assert parsed("").prometheus is None
    file = parsed('prometheus_step = "30s"\n[health.queries]\nnewest = "x"\n')
    assert file.prometheus is None
    assert [one.where for one in file.warnings] == ["health.prometheus_step", "health.queries"]


@pytest.mark.parametrize(
    ("health", "line", "column", "words"),
    [
        ('prometheus = "prom:9090"', 4, 14, "must begin with http:// or https://"),
        ('prometheus = "http://jo:pw@prom:9090"', 4, 14, "must not hold a user or a password"),
        ('prometheus = "http://p/?a=b"', 4, 14, "must end before ?"),
        ('prometheus = "http://p"\nprometheus_step = "7s"', 5, 19, "must divide a minute"),
        ('prometheus = "http://p"\nprometheus_step = "2m"', 5, 19, "from 1 s to 60 s"),
        ('prometheus = "http://p"\nprometheus_token_file = ""', 5, 25, "is empty"),
        ('prometheus = "http://p"\n[health.queries]\nrequests = ""', 6, 12, "is empty"),
        ('prometheus = "http://p"\n[health.queries]\nrequests = 7', 6, 12, "must be a string"),
        ('prometheus = "http://p"\n[health.queries]\nnewest = "a("', 6, 10, "( that is not closed"),
        ('prometheus = "http://p"\n[health.queries]\nrequests = "a"', 5, 1, "needs newest"),
        (
            'prometheus = "http://p"\n[health.queries]\nduration = "a"\nduration_ms = "b"',
            7, 15, "beside duration",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_place(
    health: str, line: int, column: int, words: str
) -> None:
    with pytest.raises(FileError) as raised:
        parsed(health)
    (problem,) = raised.value.problems
    assert (problem.line, problem.column) == (line, column)
    assert words in str(problem)
    assert "jo:pw" not in str(problem)


def test_an_unknown_query_is_a_warning_with_the_nearest_name() -> None:
    file = parsed('prometheus = "http://p"\n[health.queries]\nrepeatd = "x"\n')
    assert "did you mean 'repeated'" in str(file.warnings[0])


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("sum(a", "( that is not closed"),
        ("sum a)", ") that closes nothing"),
        ("a{b='c}", "quote ' that is not closed"),
        ("a[$steps]", "$steps, which is none of"),
        ("a$ ", "$, which is none of"),
        ("$increase a", "$increase without brackets"),
        ("$increase(sum(a))", "no selector"),
        ("$increase(a[5m])", "no selector"),
        ("$increase( )", "no selector"),
        ("a\x1b[31m", "invisible character"),
        ("a" * (MOST_QUERY + 1), "too long"),
    ],
)
def test_the_form_of_a_query_is_checked(query: str, words: str) -> None:
    assert words in problem_of(query)


@pytest.mark.parametrize(
    "query",
    [
        "sum by (a) (rate(b[$window]))",
        'a{b=~"x$"}',
        'label_replace(a, "route", "$1", "b", "(.*)")',
        "sum(a) # not ) here\n / 2",
        '$increase(a{b=~"(x|y)\\"$", c!=`(`})',
        "a{b='\\'('}",
    ],
)
def test_what_promql_allows_is_allowed(query: str) -> None:
    assert problem_of(query) == ""


def test_series_that_come_and_go_count_where_they_were_there_before() -> None:
    before = "last_over_time(a[2s] offset 1s)"
    assert expanded("$increase_of_known(a)", 1) == f"((a - {before}) >= 0 or (a and {before}))"


def test_placeholders_are_filled_in_for_a_step() -> None:
    assert expanded("increase(a[$window]) / $step", 15) == "increase(a[30s]) / 15s"
    before = 'last_over_time(a{b=")"}[20s] offset 10s)'
    assert expanded('sum($increase(a{b=")"})) + 1', 10) == (
        f'sum(((a{{b=")"}} - {before}) >= 0 or (a{{b=")"}} and on (job, instance)'
        f" ({before} or max_over_time(up[20s] offset 10s) > 0)))) + 1"
    )
