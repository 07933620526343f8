"""Whom a route's errors are blamed on beside orgs: the rule alone, on bins of exact counts."""

from collections.abc import Mapping

import pytest

from rollout_console.guard.evidence.culprits import Labelled, culprits_of
from rollout_console.health.windows.bins import Bin

LIMIT = 0.02
SECONDS = 180


def route(of_alias: Mapping[str, tuple[int, int]]) -> tuple[Mapping[str, Labelled], list[Bin]]:
    """Return a route's labels and bins; by alias, how many errors and requests it has in all.

    Its errors come at equal distances, those of each alias at other times.
    """
    bins: dict[str, list[Bin]] = {}
    whole = [[0, 0] for _ in range(SECONDS)]
    for index, (name, (errors, requests)) in enumerate(of_alias.items()):
        mine = [[0, 0] for _ in range(SECONDS)]
        for number in range(requests):
            at = number + 7 * index
            is_error = (at + 1) * errors // requests - at * errors // requests
            for counts in (mine, whole):
                counts[number * SECONDS // requests][0] += 1
                counts[number * SECONDS // requests][1] += is_error
        if errors:
            bins[name] = _bins(mine)
    return {"key_alias": Labelled(bins, len(of_alias))}, _bins(whole)


def _bins(counts: list[list[int]]) -> list[Bin]:
    return [Bin(at, n, gateway=bad, timed=n - bad) for at, (n, bad) in enumerate(counts) if n]


def named(of_alias: Mapping[str, tuple[int, int]], p0: float = LIMIT) -> list[str]:
    labels, whole = route(of_alias)
    found = culprits_of(labels, whole, "gateway", p0, LIMIT)
    return [one.name for one in found.get("key_alias", [])]


WELL = {f"key-{i}": (1, 90) for i in range(39)}


def test_one_of_many_is_named_though_the_noise_of_the_others_has_more_errors() -> None:
    assert sum(errors for errors, _ in WELL.values()) > 18
    assert named({**WELL, "sick": (18, 90)}) == ["sick"]
    labels, whole = route({**WELL, "sick": (18, 90)})
    (found,) = culprits_of(labels, whole, "gateway", LIMIT, LIMIT)["key_alias"]
    assert found.share == pytest.approx(18 / (18 + 39), abs=0.05)
    assert found.others[0] <= LIMIT * found.others[1]


@pytest.mark.parametrize("sick", [(0, 90), (1, 90), (3, 90), (5, 90)])
def test_one_that_may_be_chance_is_not(sick: tuple[int, int]) -> None:
    assert named({**WELL, "sick": sick}) == []


@pytest.mark.parametrize("of_others", [3, 5, 9])
def test_one_of_a_route_that_is_sick_itself_is_not(of_others: int) -> None:
    others = dict.fromkeys(WELL, (of_others, 90))
    assert named({**others, "sick": (18, 90)}) == []


def test_what_the_previous_side_allows_is_in_order() -> None:
    others = dict.fromkeys(WELL, (3, 90))
    assert named({**others, "sick": (45, 90)}, p0=0.04) == ["sick"]
    assert named({**others, "sick": (45, 90)}, p0=LIMIT) == []
