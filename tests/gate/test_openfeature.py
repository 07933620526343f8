"""The OpenFeature provider, through the real SDK and real files."""

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.evaluation_context import EvaluationContext
from openfeature.event import EventDetails, ProviderEvent
from openfeature.exception import ErrorCode, ProviderNotReadyError
from openfeature.flag_evaluation import FlagEvaluationDetails, FlagValueType, Reason
from openfeature.hook import Hook, HookContext, HookHints
from openfeature.provider import ProviderStatus

from rollout_gate import Gate
from rollout_gate.openfeature import RolloutProvider
from tests.support.waiting import until

SLOW_S = 10.0
FILE = """schema = 1
algorithm = "fractional-v3"
rolled_back = false
[routes.chat]
format = "openai_chat_completions"
model = "gpt-5.4"
default_percent = 0
[routes.chat.orgs]
acme = 100
globex = 12.5
hooli = 25
initech = { percent = 50, rolled_back = true }
[routes.chat.keys]
batch = 100
[routes.chat.flags]
beta = 100
half = 50
[routes.claude]
format = "anthropic_messages"
model = "claude-sonnet-4-6"
default_percent = 50
"""


def put(path: Path, text: str) -> None:
    new = path.with_suffix(".new")
    new.write_text(text)
    new.rename(path)


def context(key: str | None = None, **attributes: Any) -> EvaluationContext:
    return EvaluationContext(targeting_key=key, attributes=attributes)


class Heard:
    """What the handlers of a client, or of all, were told, in order of kind."""

    def __init__(self, listen: Callable[[ProviderEvent, Callable[[EventDetails], None]], None]):
        self.of: dict[ProviderEvent, list[EventDetails]] = {kind: [] for kind in ProviderEvent}
        for kind in ProviderEvent:
            listen(kind, self.of[kind].append)

    @property
    def ready(self) -> list[EventDetails]:
        return self.of[ProviderEvent.PROVIDER_READY]

    @property
    def stale(self) -> list[EventDetails]:
        return self.of[ProviderEvent.PROVIDER_STALE]

    @property
    def errors(self) -> list[EventDetails]:
        return self.of[ProviderEvent.PROVIDER_ERROR]

    @property
    def changed(self) -> list[EventDetails]:
        return self.of[ProviderEvent.PROVIDER_CONFIGURATION_CHANGED]


@pytest.fixture(autouse=True)
def clean_api() -> Iterator[None]:
    yield
    api.shutdown()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "rollout.toml"
    made.write_text(FILE)
    return made


@pytest.fixture
def client(path: Path) -> OpenFeatureClient:
    api.set_provider_and_wait(RolloutProvider(path, poll_s=0.05))
    return api.get_client()


def test_each_type_has_its_value(client: OpenFeatureClient, path: Path) -> None:
    acme = context(org="acme")
    assert client.get_boolean_value("chat", False, acme) is True
    assert client.get_string_value("chat", "previous", acme) == "tokenlab"
    assert client.get_integer_value("chat", 0, acme) == 100
    percent = client.get_float_value("chat", 0.0, context(org="globex"))
    assert (percent, type(percent)) == (12.5, float)
    with Gate(path) as gate:
        decision = gate.decide("chat", "acme", key="u1")
    found = client.get_object_value("chat", {}, context("u1", org="acme"))
    assert found == {**decision.as_dict(), "percent": 100.0}
    details = client.get_boolean_details("chat", False, context("u1", org="acme"))
    assert details.variant == "tokenlab"
    assert details.error_code is None
    assert details.flag_metadata == {
        "rule": "orgs.acme",
        "revision": decision.revision,
        "bucket": decision.bucket,
        "percent": 100.0,
        "model": "gpt-5.4",
        "format": "openai_chat_completions",
        "route": "chat",
    }


def test_a_percent_that_is_not_whole_is_no_integer(client: OpenFeatureClient) -> None:
    details = client.get_integer_details("chat", 7, context(org="globex"))
    assert (details.value, details.error_code) == (7, ErrorCode.TYPE_MISMATCH)
    assert "12.5" in (details.error_message or "")


@pytest.mark.parametrize(
    ("route", "given", "reason", "rule"),
    [
        ("chat", context(org="acme"), Reason.TARGETING_MATCH, "orgs.acme"),
        ("chat", context(org="hooli"), Reason.SPLIT, "orgs.hooli"),
        ("chat", context(org="none"), Reason.DEFAULT, "default_percent"),
        ("claude", context(org="none"), Reason.SPLIT, "default_percent"),
        ("chat", context(org="none", key_alias="batch"), Reason.TARGETING_MATCH, "keys.batch"),
        ("chat", context(org="none", flags=["beta"]), Reason.TARGETING_MATCH, "flags.beta"),
        ("chat", context(org="none", flags=["half", "x"]), Reason.SPLIT, "flags.half"),
        (
            "chat",
            context("u", org="", flags=("half", "beta")),
            Reason.TARGETING_MATCH,
            "flags.beta",
        ),
        ("chat", context(org="acme", flags=[], key_alias="x"), Reason.TARGETING_MATCH, "orgs.acme"),
        ("chat", context(org="initech", flags=["beta"]), Reason.DISABLED, "rolled_back.org"),
    ],
)
def test_the_reason_says_what_decided(
    client: OpenFeatureClient, route: str, given: EvaluationContext, reason: Reason, rule: str
) -> None:
    details = client.get_string_details(route, "previous", given)
    assert (details.reason, details.flag_metadata["rule"]) == (reason, rule)


def test_every_subject_gets_the_side_that_the_gate_gives(
    client: OpenFeatureClient, path: Path
) -> None:
    with Gate(path) as gate:
        for number in range(300):
            key = f"user-{number}"
            for route, org in (("chat", "hooli"), ("claude", "any")):
                side = client.get_string_value(route, "", context(key, org=org))
                assert side == gate.decide(route, org, key=key).side


def test_10_000_random_contexts_are_decided_as_by_the_gate(
    client: OpenFeatureClient, path: Path
) -> None:
    rng, rules = random.Random(3), set()
    with Gate(path) as gate:
        for _ in range(10_000):
            route = rng.choice(["chat", "claude"])
            org = rng.choice(["acme", "globex", "hooli", "initech", "none", "é", ""])
            key = rng.choice([None, "", f"user-{rng.randrange(10**6)}"]) if org else "user-1"
            alias = rng.choice([None, None, "batch", "other"])
            flags = rng.sample(["beta", "half", "other"], rng.randint(0, 3))
            given = context(key, org=org, key_alias=alias, flags=flags)
            found = client.get_object_value(route, {}, given)
            decision = gate.decide(route, org, key=key, key_alias=alias, flags=flags)
            assert found == {**decision.as_dict(), "percent": decision.percent}
            rules.add(decision.rule.split(".")[0])
    assert rules == {"rolled_back", "keys", "flags", "orgs", "default_percent"}


def test_a_targeting_key_is_no_org_and_an_org_alone_is_the_key(client: OpenFeatureClient) -> None:
    details = client.get_boolean_details("chat", True, context("acme", org=""))
    assert (details.value, details.flag_metadata["rule"]) == (False, "default_percent")
    alone = client.get_object_value("chat", {}, context(org="hooli"))
    keyed = client.get_object_value("chat", {}, context("hooli", org="hooli"))
    assert alone == keyed


def test_rolled_back_means_no_percent_but_the_file_keeps_it(client: OpenFeatureClient) -> None:
    details = client.get_float_details("chat", 9.0, context(org="initech"))
    assert (details.value, details.variant) == (0.0, "previous")
    assert details.flag_metadata["percent"] == 50.0
    assert client.get_integer_value("chat", 9, context(org="initech")) == 0


BAD_CONTEXTS = [
    (context(), ErrorCode.TARGETING_KEY_MISSING),
    (None, ErrorCode.TARGETING_KEY_MISSING),
    (context("", org=""), ErrorCode.TARGETING_KEY_MISSING),
    (context(key_alias="batch"), ErrorCode.TARGETING_KEY_MISSING),
    (context("u"), ErrorCode.INVALID_CONTEXT),
    (context("u", key_alias="batch", flags=["beta"]), ErrorCode.INVALID_CONTEXT),
    (context("u", org=7), ErrorCode.INVALID_CONTEXT),
    (context("u", org=None), ErrorCode.INVALID_CONTEXT),
    (context(7, org="acme"), ErrorCode.INVALID_CONTEXT),  # type: ignore[arg-type]
    (context("u", org="acme", key_alias=["batch"]), ErrorCode.INVALID_CONTEXT),
    (context("u", org="acme", flags="beta"), ErrorCode.INVALID_CONTEXT),
    (context("u", org="acme", flags={"beta": False}), ErrorCode.INVALID_CONTEXT),
    (context("u", org="acme", flags=[["beta"]]), ErrorCode.INVALID_CONTEXT),
    (context("u", org="acme", flags=7), ErrorCode.INVALID_CONTEXT),
]


@pytest.mark.parametrize(("given", "code"), BAD_CONTEXTS)
async def test_a_bad_context_gives_the_default_and_says_so(
    client: OpenFeatureClient, given: EvaluationContext | None, code: ErrorCode
) -> None:
    details = client.get_string_details("chat", "mine", given)
    assert (details.value, details.error_code, details.reason) == ("mine", code, Reason.ERROR)
    assert details.error_message
    same = await client.get_string_details_async("chat", "mine", given)
    assert same == details


@pytest.mark.parametrize("given", [given for given, _ in BAD_CONTEXTS])
def test_a_rollback_stands_above_a_bad_context(
    path: Path, client: OpenFeatureClient, given: EvaluationContext | None
) -> None:
    path.unlink()
    put(path, FILE.replace("rolled_back = false", "rolled_back = true"))
    until(lambda: client.get_boolean_details("chat", True, given).reason is Reason.DISABLED)
    details = client.get_string_details("chat", "tokenlab", given)
    assert (details.value, details.flag_metadata["rule"]) == ("previous", "rolled_back.file")
    assert details.flag_metadata["bucket"] == -1


def test_an_org_that_is_rolled_back_is_so_with_a_bad_key_too(client: OpenFeatureClient) -> None:
    details = client.get_boolean_details("chat", True, context(7, org="initech"))  # type: ignore[arg-type]
    assert (details.value, details.reason) == (False, Reason.DISABLED)


@pytest.mark.parametrize("given", [context(org="acme"), context()])
def test_an_unknown_route_is_no_flag(client: OpenFeatureClient, given: EvaluationContext) -> None:
    details = client.get_boolean_details("nowhere", True, given)
    assert (details.value, details.error_code) == (True, ErrorCode.FLAG_NOT_FOUND)
    wrong: Any = ["chat"]
    assert client.get_boolean_details(wrong, True, given).error_code is ErrorCode.FLAG_NOT_FOUND


async def test_the_async_ways_answer_the_same(client: OpenFeatureClient) -> None:
    hooli = context("u1", org="hooli")
    asked: list[tuple[FlagEvaluationDetails[Any], FlagEvaluationDetails[Any]]] = [
        (
            await client.get_boolean_details_async("chat", False, hooli),
            client.get_boolean_details("chat", False, hooli),
        ),
        (
            await client.get_string_details_async("chat", "", hooli),
            client.get_string_details("chat", "", hooli),
        ),
        (
            await client.get_integer_details_async("chat", 0, hooli),
            client.get_integer_details("chat", 0, hooli),
        ),
        (
            await client.get_float_details_async("chat", 0.0, hooli),
            client.get_float_details("chat", 0.0, hooli),
        ),
        (
            await client.get_object_details_async("chat", {}, hooli),
            client.get_object_details("chat", {}, hooli),
        ),
    ]
    for later, now in asked:
        assert later == now
        assert now.error_code is None


def test_hooks_see_the_decision(path: Path) -> None:
    class Seen(Hook):
        def __init__(self) -> None:
            self.after_: list[FlagEvaluationDetails[FlagValueType]] = []
            self.errors: list[Exception] = []

        def after(
            self,
            hook_context: HookContext,
            details: FlagEvaluationDetails[FlagValueType],
            hints: HookHints,
        ) -> None:
            self.after_.append(details)

        def error(self, hook_context: HookContext, exception: Exception, hints: HookHints) -> None:
            self.errors.append(exception)

    of_provider, of_client = Seen(), Seen()
    provider = RolloutProvider(path, hooks=[of_provider])
    api.set_provider_and_wait(provider)
    client = api.get_client()
    client.add_hooks([of_client])
    client.get_boolean_value("chat", False, context(org="acme"))
    client.get_boolean_value("nowhere", False, context(org="acme"))
    for seen in (of_provider, of_client):
        assert [one.flag_metadata["rule"] for one in seen.after_] == ["orgs.acme"]
        assert [type(one).__name__ for one in seen.errors] == ["FlagNotFoundError"]
    provider.get_provider_hooks().clear()
    assert provider.get_provider_hooks() == [of_provider]


def test_changes_are_told_with_the_routes_that_differ(
    path: Path, client: OpenFeatureClient
) -> None:
    heard = Heard(client.add_handler)
    until(lambda: len(heard.ready) == 1)  # the SDK tells a late handler at once
    put(path, FILE.replace("acme = 100", "acme = 10"))
    until(lambda: len(heard.changed) == 1)
    assert heard.changed[0].flags_changed == ["chat"]
    assert heard.changed[0].provider_name == "rollout-console"
    put(path, FILE.replace("acme = 100", "acme = 10") + '[routes.art]\nformat = "image"\n')
    until(lambda: len(heard.changed) == 2)
    assert heard.changed[1].flags_changed == ["art"]
    put(path, FILE.replace("rolled_back = false", "rolled_back = true"))
    until(lambda: len(heard.changed) == 3)
    assert heard.changed[2].flags_changed == ["art", "chat", "claude"]
    revision = client.get_object_value("chat", {}, context(org="acme"))
    assert isinstance(revision, dict)
    assert heard.changed[2].metadata == {"revision": revision["revision"]}
    assert (len(heard.ready), heard.stale, heard.errors) == (1, [], [])


def test_trouble_is_stale_until_it_is_over(path: Path, client: OpenFeatureClient) -> None:
    heard = Heard(client.add_handler)
    until(lambda: len(heard.ready) == 1)
    path.unlink()
    until(lambda: client.get_provider_status() is ProviderStatus.STALE)
    until(lambda: len(heard.stale) == 1)
    assert "does not exist" in (heard.stale[0].message or "")
    assert client.get_boolean_value("chat", False, context(org="acme")) is True
    path.write_text("[routes.chat")
    time.sleep(0.3)
    put(path, FILE)
    until(lambda: client.get_provider_status() is ProviderStatus.READY)
    until(lambda: len(heard.ready) == 2)
    assert (len(heard.stale), heard.changed, heard.errors) == (1, [], [])


def test_trouble_that_ends_with_another_version(path: Path, client: OpenFeatureClient) -> None:
    heard = Heard(client.add_handler)
    put(path, "nonsense")
    until(lambda: len(heard.stale) == 1)
    put(path, FILE.replace("default_percent = 50", "default_percent = 60"))
    until(lambda: len(heard.changed) == 1 and len(heard.ready) == 2)
    assert heard.changed[0].flags_changed == ["claude"]


def test_without_a_good_file_it_is_an_error_until_one_comes(path: Path) -> None:
    path.unlink()
    client = api.get_client()
    heard = Heard(client.add_handler)
    until(lambda: len(heard.ready) == 1)  # of the SDK's own provider that does nothing
    with pytest.raises(ProviderNotReadyError, match="does not exist"):
        api.set_provider_and_wait(RolloutProvider(path, poll_s=0.05))
    assert client.get_provider_status() is ProviderStatus.ERROR
    until(lambda: len(heard.errors) == 1)
    assert heard.errors[0].error_code is ErrorCode.PROVIDER_NOT_READY
    details = client.get_boolean_details("chat", True, context(org="acme"))
    assert (details.value, details.error_code) == (True, ErrorCode.PROVIDER_NOT_READY)
    assert "does not exist" in (details.error_message or "")
    put(path, FILE)
    until(lambda: client.get_provider_status() is ProviderStatus.READY)
    until(lambda: len(heard.ready) == 2)
    assert client.get_string_value("chat", "", context(org="acme")) == "tokenlab"
    assert (len(heard.errors), heard.stale, heard.changed) == (1, [], [])


def test_set_without_waiting_it_is_ready_or_an_error_too(path: Path, tmp_path: Path) -> None:
    api.set_provider(RolloutProvider(path), "good")
    api.set_provider(RolloutProvider(tmp_path / "none.toml"), "bad")
    good, bad = api.get_client("good"), api.get_client("bad")
    until(lambda: good.get_provider_status() is ProviderStatus.READY)
    until(lambda: bad.get_provider_status() is ProviderStatus.ERROR)


def test_a_file_that_comes_while_the_sdk_notes_the_error_is_not_missed(path: Path) -> None:
    path.unlink()
    with Gate(path, poll_s=60) as gate:

        class Slow(RolloutProvider):
            def initialize(self, evaluation_context: EvaluationContext) -> None:
                try:
                    super().initialize(evaluation_context)
                finally:
                    put(path, FILE)
                    gate.refresh()

        with pytest.raises(ProviderNotReadyError):
            api.set_provider_and_wait(Slow(gate))
        client = api.get_client()
        until(lambda: client.get_provider_status() is ProviderStatus.READY)


def test_a_gate_that_is_in_trouble_already_is_stale(path: Path) -> None:
    with Gate(path, poll_s=60) as gate:
        path.unlink()
        gate.refresh()
        api.set_provider_and_wait(RolloutProvider(gate))
        client = api.get_client()
        until(lambda: client.get_provider_status() is ProviderStatus.STALE)
        assert client.get_boolean_value("chat", False, context(org="acme")) is True


def test_a_gate_that_is_given_stays_open_and_is_let_go(path: Path) -> None:
    with Gate(path, poll_s=0.05) as gate:
        provider = RolloutProvider(gate)
        api.set_provider_and_wait(provider)
        heard = Heard(api.get_client().add_handler)
        until(lambda: len(heard.ready) == 1)
        assert gate._on_change
        provider.shutdown()
        assert (gate._on_change, gate._on_trouble) == ((), ())
        put(path, FILE.replace("acme = 100", "acme = 0"))
        until(lambda: gate.decide("chat", "acme").side == "previous")
        assert heard.changed == []


def test_a_gate_of_its_own_is_closed(path: Path) -> None:
    provider = RolloutProvider(path, poll_s=0.05)
    api.set_provider_and_wait(provider)
    gate = provider._gate
    assert gate is not None
    thread = gate._thread
    assert thread is not None
    api.shutdown()
    assert not thread.is_alive()
    details = provider.resolve_boolean_details("chat", False, context(org="acme"))
    assert details.error_code is ErrorCode.PROVIDER_NOT_READY
    with pytest.raises(ProviderNotReadyError):  # begun before the shutdown, but late
        provider.initialize(EvaluationContext())
    api.set_provider_and_wait(provider)
    assert api.get_client().get_boolean_value("chat", False, context(org="acme")) is True


def test_replaced_and_set_again_at_once_it_goes_on(path: Path) -> None:
    provider = RolloutProvider(path, poll_s=0.05)
    for _ in range(20):
        api.set_provider_and_wait(provider, "a")
        api.set_provider_and_wait(RolloutProvider(path), "a")
    api.set_provider_and_wait(provider, "a")
    time.sleep(0.2)  # the SDK shuts down what was replaced in threads of its own
    client = api.get_client("a")
    assert client.get_boolean_value("chat", False, context(org="acme")) is True


def test_one_provider_for_many_domains_and_many_providers(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text(FILE.replace("acme = 100", "acme = 0"))
    shared = RolloutProvider(path, poll_s=0.05)
    api.set_provider_and_wait(shared, "a")
    api.set_provider_and_wait(shared, "b")
    api.set_provider_and_wait(RolloutProvider(other, poll_s=0.05), "c")
    clients = {domain: api.get_client(domain) for domain in "abc"}
    heard = {domain: Heard(client.add_handler) for domain, client in clients.items()}
    everywhere = Heard(api.add_handler)

    def sides() -> list[str]:
        return [one.get_string_value("chat", "", context(org="acme")) for one in clients.values()]

    assert sides() == ["tokenlab", "tokenlab", "previous"]
    put(path, FILE.replace("acme = 100", "acme = 0"))
    until(lambda: len(heard["a"].changed) == len(heard["b"].changed) == 1)
    until(lambda: len(everywhere.changed) == 1)
    assert (sides(), heard["c"].changed) == (["previous"] * 3, [])
    api.set_provider_and_wait(RolloutProvider(other), "a")
    put(path, FILE)
    until(lambda: len(heard["b"].changed) == 2)
    assert sides() == ["previous", "tokenlab", "previous"]


def test_used_without_the_api_it_answers_too(path: Path) -> None:
    provider = RolloutProvider(path)
    assert (
        provider.resolve_string_details("chat", "x", context(org="acme")).error_code
        is ErrorCode.PROVIDER_NOT_READY
    )
    provider.initialize(EvaluationContext())
    assert provider.resolve_string_details("chat", "x", context(org="acme")).value == "tokenlab"
    assert provider.get_metadata().name == "rollout-console"
    provider.shutdown()
    provider.shutdown()


def test_what_nobody_thought_of_is_an_error_and_no_exception(path: Path) -> None:
    class Lazy(list[str]):
        def __iter__(self) -> Iterator[str]:
            raise RuntimeError("the session is closed")

    provider = RolloutProvider(path)
    provider.initialize(EvaluationContext())
    details = provider.resolve_string_details("chat", "mine", context(org="acme", flags=Lazy()))
    assert (details.value, details.error_code) == ("mine", ErrorCode.GENERAL)
    assert details.error_message == "RuntimeError: the session is closed"
    provider.shutdown()


def test_a_fork_in_the_middle_of_an_event_does_not_stop_the_child(path: Path) -> None:
    provider = RolloutProvider(path, poll_s=0.05)
    api.set_provider_and_wait(provider)
    client = api.get_client()
    held, done = threading.Event(), threading.Event()

    def tell() -> None:
        with provider._lock, provider._turn:
            held.set()
            done.wait(SLOW_S)

    threading.Thread(target=tell, daemon=True).start()
    assert held.wait(SLOW_S)
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(30)  # a lock that is held forever ends the child, and fails the test
        code = 1
        try:
            put(path, FILE.replace("acme = 100", "acme = 0"))
            until(lambda: not client.get_boolean_value("chat", True, context(org="acme")))
            put(path, FILE)  # the gate's thread has come back from the first change
            until(lambda: client.get_boolean_value("chat", False, context(org="acme")))
            provider.shutdown()
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    done.set()
    assert os.waitstatus_to_exitcode(status) == 0
