"""Logs of requests to routes: other tools' fields, what cannot be used, bounded memory."""

import gzip
import json
import tracemalloc
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from rollout_console.scaffold import request_log
from rollout_console.scaffold.draft import Draft
from rollout_console.scaffold.errors import ScaffoldError
from rollout_console.scaffold.request_log import Report, read_log, undated
from rollout_console.scaffold.template import rollout_text

CANARY = "sk-canary-7f3a9c55e1aa"
CHAT = "openai_chat_completions"


def jsonl(path: Path, rows: Sequence[Mapping[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def found(report: Report) -> dict[str, tuple[str, str, int, tuple[str, ...]]]:
    return {
        route.name: (route.format, route.model, report.counts[route.name], route.orgs)
        for route in report.routes
    }


def reasons(report: Report) -> dict[str, tuple[int, int]]:
    return {reason: (count, line) for reason, count, line in report.skipped}


def test_litellm_spend_logs(tmp_path: Path) -> None:
    base = {"api_key": "88dc28d0f030c55ed4ab77ed8faf098196cb1c05", "spend": 0.01}
    rows = [
        {"call_type": "acompletion", "model": "openai/gpt-5.4", "team_id": "t-acme",
         "api_base": "https://api.openai.com/v1/", "user": "u1", **base},
        {"call_type": "acompletion", "model": "gpt-5.4", "team_id": "t-globex", "user": "u2",
         "api_base": "https://api.openai.com/v1", **base},
        {"call_type": "completion", "model": "gpt-5.4", "team_id": "t-acme", "user": "u3", **base},
        {"call_type": "anthropic_messages", "model": "claude-sonnet-4-6", "team_id": "", **base},
        {"call_type": "aembedding", "model": "text-embedding-3-small", "team_id": "t", **base},
    ]  # fmt: skip
    report = read_log(jsonl(tmp_path / "spend.jsonl", rows))
    assert found(report) == {
        "chat": (CHAT, "gpt-5.4", 3, ("t-acme", "t-globex")),
        "claude": ("anthropic_messages", "claude-sonnet-4-6", 1, ()),
    }
    assert report.fields == {"path": "call_type", "model": "model", "org": "team_id"}
    assert reasons(report) == {
        "counted, and without an org": (1, 4),
        "there is no route format for 'aembedding'": (1, 5),
    }
    assert report.routes[0].previous_base_url == "https://api.openai.com/v1"
    assert "88dc28d0" not in rollout_text(Draft(report.routes))


def test_nested_fields_of_a_logging_payload(tmp_path: Path) -> None:
    rows = [
        {"call_type": "aresponses", "model": "gpt-5.4",
         "metadata": {"user_api_key_team_alias": f"team-{n % 2}", "user_api_key_hash": CANARY}}
        for n in range(4)
    ]  # fmt: skip
    report = read_log(jsonl(tmp_path / "payload.jsonl", rows))
    assert found(report) == {"responses": ("openai_responses", "gpt-5.4", 4, ("team-0", "team-1"))}
    assert report.fields["org"] == "metadata.user_api_key_team_alias"


def test_helicone_csv_with_quotes_and_bodies_over_lines(tmp_path: Path) -> None:
    path = tmp_path / "helicone.csv"
    path.write_text(
        "response_id,request_created_at,request_body,request_user_id,model,cost\r\n"
        '"a","2026-11-01","{""messages"": [{""content"": ""one\ntwo, three""}]}","acme","gpt-5.4",'
        '"0.1"\r\n'
        '"b","2026-11-01","","globex, inc.","claude-sonnet-4-6","0.1"\r\n'
        "too,many,columns,in,this,row,here\r\n"
    )
    report = read_log(path)
    assert found(report) == {
        "chat": (CHAT, "gpt-5.4", 1, ("acme",)),
        "claude": ("anthropic_messages", "claude-sonnet-4-6", 1, ("globex, inc.",)),
    }
    assert report.guessed == 2
    assert reasons(report) == {"it has more columns than the header": (1, 5)}


def test_openai_usage_csv_counts_what_each_row_stands_for(tmp_path: Path) -> None:
    path = tmp_path / "usage.csv"
    path.write_bytes(
        b"\xef\xbb\xbfstart_time;Organization ID;Project ID;num_model_requests;model;api_key_id\r\n"
        b"1;org-own;proj_a;1200;gpt-5.4-2026-03-05;key_1\r\n"
        b"1;org-own;proj_b;34;gpt-5.4-2026-03-05;key_2\r\n"
    )
    report = read_log(path)
    # The organisation is one's own: the first field with two values tells customers apart.
    assert found(report) == {"chat": (CHAT, "gpt-5.4-2026-03-05", 1234, ("proj_a", "proj_b"))}
    assert report.fields["org"] == "Project ID"
    assert undated("gpt-5.4-2026-03-05") == "gpt-5.4"


def test_a_server_log_in_the_combined_format(tmp_path: Path) -> None:
    path = tmp_path / "access.log.gz"
    line = '10.0.0.7 - {} [28/Nov/2026:10:00:00 +0000] "{} HTTP/1.1" 200 512 "-" "OpenAI/Python"\n'
    rows = [
        ("acme", "POST /v1/chat/completions"),
        ("-", "POST /openai/deployments/gpt-5/chat/completions?api-version=1"),
        ("acme", "POST /v1beta/models/gemini-3.5-flash:streamGenerateContent?key=AIzaCanary"),
        ("acme", "GET /v1/models"),
        ("acme", "POST /v1/threads/thread_abc123/messages"),
        ("acme", "POST /v1/embeddings"),
    ]
    path.write_bytes(gzip.compress(("".join(line.format(*row) for row in rows)).encode() + b"x\n"))
    report = read_log(path)
    assert report.kind == "server log"
    assert found(report) == {
        "chat": (CHAT, "", 1, ("acme",)),
        "chat-gpt-5": (CHAT, "gpt-5", 1, ()),
        "gemini": ("gemini_generate_content", "gemini-3.5-flash", 1, ("acme",)),
    }
    said = reasons(report)
    assert said["it is no POST: it generates nothing"] == (1, 4)
    assert said["there is no route format for POST /v1/threads/{}/messages"] == (1, 5)
    assert said["there is no route format for POST /v1/embeddings"] == (1, 6)
    assert said["not a line of the common log format"] == (1, 7)
    assert "AIzaCanary" not in str(report)


def test_full_urls_tell_the_previous_side(tmp_path: Path) -> None:
    rows = [
        {"url": "https://gw.example/proxy/v1/chat/completions", "model": "m", "org": "a"},
        {"url": "https://gw.example/proxy/v1/chat/completions", "model": "m", "org": "b"},
        {"url": "https://u:pw123456@x.example/v1/responses", "model": "m", "org": "b"},
    ]
    report = read_log(jsonl(tmp_path / "log.jsonl", rows))
    chat, responses = report.routes
    assert chat.previous_base_url == "https://gw.example/proxy/v1"
    assert (responses.previous_base_url, "cannot be used" in responses.why_no_previous) == (
        "",
        True,
    )
    assert "pw123456" not in rollout_text(Draft(report.routes))


def test_no_key_is_taken_for_an_org_or_a_model(tmp_path: Path) -> None:
    rows: list[Mapping[str, object]] = [
        {"path": "/v1/chat/completions", "model": "m", "user": CANARY, "authorization": CANARY},
        {"path": "/v1/chat/completions", "model": "m", "user": "acme", "api_key": CANARY},
        {"path": "/v1/chat/completions", "model": CANARY, "user": "acme"},
        {"path": f"/v1/{CANARY}/{CANARY}", "model": "m", "user": "acme"},
    ]
    report = read_log(jsonl(tmp_path / "log.jsonl", rows))
    assert found(report) == {"chat": (CHAT, "m", 2, ("acme",))}
    assert reasons(report)[
        "counted, but its org looks like a credential, which never belongs in this file"
    ] == (1, 1)
    assert CANARY not in str(report)


def test_bad_lines_are_counted_with_their_line(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    good = '{"path": "/v1/chat/completions", "model": "m", "org": "acme"}\n'
    path.write_bytes((good + "\n{bad\n[1]\n" + good).encode() + b'{"model": "\xff"}\n{}\n')
    report = read_log(path)
    said = reasons(report)
    assert report.requests == 2
    assert said["not a JSON object"] == (1, 4)
    assert said["it names neither a path nor a model"] == (1, 7)
    assert [line for reason, (_, line) in said.items() if "JSON is malformed" in reason] == [3]
    assert [line for reason, (_, line) in said.items() if "UTF-8" in reason] == [6]


def test_the_field_of_orgs_can_be_named(tmp_path: Path) -> None:
    rows = [
        {"path": "/v1/responses", "model": "m", "user": f"u{n}", "metadata": {"plan": f"p{n % 3}"}}
        for n in range(9)
    ]
    path = jsonl(tmp_path / "log.jsonl", rows)
    assert len(read_log(path).routes[0].orgs) == 9
    assert read_log(path, org_field="plan").routes[0].orgs == ("p0", "p1", "p2")
    with pytest.raises(ScaffoldError, match="has no field 'tier'; its first record has: path, mod"):
        read_log(path, org_field="tier")


def test_routes_are_the_most_used_and_each_has_a_name_of_its_own(tmp_path: Path) -> None:
    rows = [
        {"path": "/v1/chat/completions", "model": f"m.{n}", "org": "acme"}
        for n in range(request_log.MOST_ROUTES + 3)
        for _ in range(n + 1)
    ]
    rows += [{"path": "/v1/chat/completions", "model": "m-22", "org": "acme"}] * 50
    report = read_log(jsonl(tmp_path / "log.jsonl", rows))
    names = [route.name for route in report.routes]
    assert names[:2] == ["chat-m-22", "chat-m-22-2"]
    assert len(names) == len(set(names)) == request_log.MOST_ROUTES
    assert any("over 20 routes" in reason for reason in reasons(report))


WRONG = {
    "empty": (b"", "is empty"),
    "blank": (b"\n\n \n", "is empty"),
    "array": (b'[{"model": "m"}]', "one JSON array"),
    "pretty": (b'{\n "model": "m"\n}\n', "JSON on several lines"),
    "utf-16": ("model,org\n".encode("utf-16"), "is UTF-16"),
    "prose": (b"hello\nworld\n", "no record names a request"),
    "nul": (b"model,org\n\0\0\0", "no record names a request"),
    "header alone": (b"model,org\n", "no record names a request"),
    "not gzip": (b"\x1f\x8bnope", "no record names a request"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_log_is_one_sentence(name: str, tmp_path: Path) -> None:
    data, said = WRONG[name]
    path = tmp_path / "log"
    path.write_bytes(data)
    with pytest.raises(ScaffoldError, match=said) as error:
        read_log(path)
    assert "\n" not in str(error.value)


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    broken = tmp_path / "broken.gz"
    broken.write_bytes(gzip.compress(b'{"model": "m"}\n' * 9)[:-9])
    for path, said in (
        (tmp_path, "is a folder"),
        (tmp_path / "no", "cannot be read"),
        (Path("/dev/null"), "not a regular file"),
        (broken, "cannot be read to its end"),
    ):
        with pytest.raises(ScaffoldError, match=said):
            read_log(path)


def test_a_quote_that_is_never_closed_ends_at_a_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rollout_console.scaffold.records.MOST_LINE", 1000)
    path = tmp_path / "log.csv"
    path.write_text('path,model,org\n/v1/responses,m,acme\n/v1/responses,"m,acme\n' + "x\n" * 9000)
    report = read_log(path)
    assert report.requests == 1
    assert any("not CSV" in reason for reason in reasons(report))


def test_a_line_over_the_bound_is_skipped_and_the_next_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rollout_console.scaffold.records.MOST_LINE", 1000)
    row = {"path": "/v1/responses", "model": "m", "org": "acme"}
    path = jsonl(tmp_path / "log.jsonl", [row, {**row, "body": "x" * 5000}, row])
    report = read_log(path)
    assert report.requests == 2
    assert [line for reason, (_, line) in reasons(report).items() if "longer" in reason] == [2]


def test_memory_is_bounded_whatever_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_log, "MOST_ORGS", 500)
    path = tmp_path / "log.jsonl"
    with path.open("w") as stream:
        for n in range(30_000):
            stream.write(
                f'{{"path":"/v1/chat/completions","model":"m","org":"o{n}","pad":"{"x" * 600}"}}\n'
            )
    tracemalloc.start()
    report = read_log(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert path.stat().st_size > 18_000_000
    assert peak < 6_000_000
    assert len(report.routes[0].orgs) == 500
    assert reasons(report)["counted, but over 500 orgs"] == (29_500, 501)
