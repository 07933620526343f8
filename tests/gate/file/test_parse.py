"""Parsing: good files, and every kind of bad one, each with its place."""

import random
from decimal import Decimal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rollout_gate.file.errors import FileError
from rollout_gate.file.model import OrgShare, PreviousPrice
from rollout_gate.file.parse import parse
from tests.conftest import SAMPLE

HEAD = 'schema = 1\nalgorithm = "fractional-v3"\n'
ROUTE = HEAD + '[routes.chat]\nformat = "openai_chat_completions"\n'


def problem_of(text: str) -> tuple[int, int, str]:
    with pytest.raises(FileError) as caught:
        parse(text.encode())
    first = caught.value.problems[0]
    return first.line, first.column, str(first)


def test_the_sample_says_what_the_design_says() -> None:
    file = parse(SAMPLE.read_bytes())
    chat = file.routes["chat"]
    assert file.warnings == ()
    assert chat.orgs == {
        "acme": OrgShare(2500),
        "globex.eu": OrgShare(1250),
        "initech": OrgShare(1000, rolled_back=True),
    }
    assert chat.flags == {"beta-testers": 10_000}
    assert file.routes["claude"].guard.max_p95_ms == 12_000
    assert file.routes["claude"].guard.max_5xx_percent == 2.0


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("true", "not a bool"),
        ("nan", "NaN"),
        ("inf", "infinity"),
        ("-1", "0 to 100"),
        ("100.01", "0 to 100"),
        ("12.345", "two decimals"),
        ('"12"', "not a string"),
        ("[1]", "not an array"),
        ("1979-05-27", "not a date"),
        ("1e400", "0 to 100"),
    ],
)
def test_a_bad_percent_names_its_place(value: str, says: str) -> None:
    line, column, message = problem_of(f"{ROUTE}[routes.chat.orgs]\nacme = {value}\n")
    assert (line, column) == (6, 8)
    assert says in message


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("x = ", (1, 5)),
        ("a = 1\na = 2\n", (2, 6)),
        (HEAD + "[routes.chat]\n", (3, 1)),
        (HEAD + '[routes.chat]\nformat = "soap"\n', (4, 10)),
        (ROUTE + 'phase = "later"\n', (5, 9)),
        ("schema = 2\n[routes]\n", (1, 10)),
        ("# nothing yet\n", (1, 1)),
        (HEAD + '[guard]\nwindow = "5 minutes"\n[routes]\n', (4, 10)),
        (HEAD + "[ramp]\nsteps = [1, 5, 5]\n[routes]\n", (4, 9)),
        (ROUTE + "[routes.chat.orgs]\na = { percent = 200 }\n", (6, 17)),
        ("[[routes]]\n", (1, 1)),
    ],
)
def test_other_faults_name_their_place(text: str, place: tuple[int, int]) -> None:
    assert problem_of(text)[:2] == place


def test_all_problems_are_found_at_once() -> None:
    with pytest.raises(FileError) as caught:
        parse(f"{ROUTE}[routes.chat.orgs]\na = 101\nb = true\nc = 50\n".encode())
    assert [p.line for p in caught.value.problems] == [6, 7]


def test_unknown_keys_are_warnings_with_a_suggestion() -> None:
    file = parse(f"{ROUTE}defualt_percent = 5\n".encode())
    assert "did you mean 'default_percent'" in str(file.warnings[0])
    assert file.warnings[0].line == 5


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xfe",
        b"a = \x80\n",
        b"\xef\xbb\xbfschema = 1\n",
        b"a = " + b"[" * 5000,
        b"a = " + b"9" * 5000,
        b"a = 1e99999999999999999999",
        b"x" * 200,
    ],
)
def test_hostile_bytes_are_one_error(data: bytes) -> None:
    with pytest.raises(FileError) as caught:
        parse(data)
    assert caught.value.problems[0].line >= 1


def test_a_huge_file_is_refused_by_its_size() -> None:
    with pytest.raises(FileError, match="MiB"):
        parse(b"#" * (33 * 1024 * 1024))


def _usable_or_file_error(data: bytes) -> None:
    try:
        problems = parse(data).warnings
    except FileError as error:
        problems = error.problems
    assert all(problem.line >= 1 and problem.column >= 1 for problem in problems)


@settings(max_examples=300)
@given(st.integers(0, 2**32))
def test_a_mutated_file_is_an_error_with_a_place_or_is_usable(seed: int) -> None:
    rng = random.Random(seed)
    data = bytearray(SAMPLE.read_bytes())
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(len(data))
        match rng.randrange(3):
            case 0:
                data[at] = rng.randrange(256)
            case 1:
                del data[at : at + rng.randint(1, 40)]
            case _:
                data[at:at] = bytes(rng.choices(b'="[]{}.,\n\\#-01 aeiou', k=rng.randint(1, 8)))
    _usable_or_file_error(bytes(data))


@settings(max_examples=200)
@given(st.binary(max_size=200))
@example(b'""=0')
def test_any_bytes_at_all(data: bytes) -> None:
    _usable_or_file_error(data)


ROUTE = HEAD + '[routes.chat]\nformat = "image"\n'


def test_a_third_decimal_is_seen_however_far_it_is() -> None:
    far = "12.5" + "0" * 30 + "1"
    assert "two decimals" in problem_of(f"{ROUTE}[routes.chat.orgs]\nacme = {far}\n")[2]
    zeros = parse(f"{ROUTE}[routes.chat.orgs]\nacme = 12.5{'0' * 40}\n".encode())
    assert zeros.routes["chat"].org_points("acme") == 1250


def test_an_org_called_like_the_default_is_warned_of() -> None:
    file = parse(f'{ROUTE}[routes.chat.orgs]\n"*" = 5\n'.encode())
    assert "default_percent is for all others" in str(file.warnings[0])


@pytest.mark.parametrize(
    "url", ["http://host:port", "http://host:99999", "http://[::1", "https://a b", "a\\u0007"]
)
def test_what_is_no_url_is_no_base_url(url: str) -> None:
    line, column, text = problem_of(f'{ROUTE}[tokenlab]\nbase_url = "{url}"\n')
    assert (line, column) == (ROUTE.count("\n") + 2, 12)
    assert "tokenlab.base_url is no URL: " in text
    text = problem_of(f'{ROUTE}previous_base_url = "{url}"\n')[2]
    assert "routes.chat.previous_base_url is no URL: " in text


@pytest.mark.parametrize("name", ["", "a\\u0000b"])
def test_a_path_that_is_none(name: str) -> None:
    assert "must be a path" in problem_of(f'{ROUTE}[health]\naccess_log = "{name}"\n')[2]


@pytest.mark.parametrize(
    "url", ["api.tokenlab.sh", "ftp://host", "https://", "//host", "/v1", "x:y"]
)
def test_a_base_url_has_a_scheme_and_a_host(url: str) -> None:
    wanted = "must begin with http:// or https:// and have a host"
    assert wanted in problem_of(f'{ROUTE}[tokenlab]\nbase_url = "{url}"\n')[2]
    assert wanted in problem_of(f'{ROUTE}previous_base_url = "{url}"\n')[2]


def test_an_empty_address_of_tokenlab_is_a_mistake_and_an_empty_previous_one_is_none() -> None:
    assert "it is empty" in problem_of(f'{ROUTE}[tokenlab]\nbase_url = ""\n')[2]
    assert parse(f'{ROUTE}previous_base_url = ""\n'.encode()).routes["chat"].previous_base_url == ""


PRICES = f"{ROUTE}[routes.chat.previous_price]\n"


def test_prices_of_the_previous_side_are_exact() -> None:
    text = PRICES + 'input_per_1m = 2.50\noutput_per_1m = "15.000000000000000001"\n'
    file = parse(text.encode())
    price = file.routes["chat"].previous_price
    assert price == PreviousPrice(Decimal("2.5"), Decimal("15.000000000000000001"), Decimal(0))
    assert file.warnings == ()
    each = parse(f"{PRICES}per_request = 1\n".encode()).routes["chat"].previous_price
    assert each == PreviousPrice(per_request=Decimal(1))
    assert parse(PRICES.encode()).routes["chat"].previous_price is None
    assert parse(ROUTE.encode()).routes["chat"].previous_price is None


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("true", "not a bool"), ("nan", "NaN"), ("-1", "must be a price"),
        ("1000000", "must be a price"), ("1e-30", "must be a price"), ("1e400", "must be a price"),
        ('"-1"', "must be a price"), ('"$2"', "must be a price"), ('"1e3"', "must be a price"),
        ('"2,5"', "must be a price"), ('""', "must be a price"), ('"٣"', "must be a price"),
        ("[2]", "not an array"),
    ],
)  # fmt: skip
def test_a_bad_price_names_its_place(value: str, says: str) -> None:
    line, column, message = problem_of(f"{PRICES}output_per_1m = {value}\n")
    assert (line, column) == (6, 17)
    assert "routes.chat.previous_price.output_per_1m" in message
    assert says in message


def test_what_is_odd_about_prices_is_a_warning() -> None:
    found = parse(f"{PRICES}input_per_1m = 2\noutput_per_1k = 3\n".encode()).warnings
    assert [one.line for one in found] == [5, 7]
    assert "has no output_per_1m: those tokens count as free" in str(found[0])
    assert "did you mean 'output_per_1m'" in str(found[1])
