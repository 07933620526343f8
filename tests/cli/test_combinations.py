"""Options that exclude each other, or would be ignored: exit code 2, and a sentence says why."""

from pathlib import Path

import pytest

from rollout_console.cli.arguments import build_parser
from rollout_console.cli.combinations import why_not_together
from rollout_console.cli.exit_codes import USAGE
from rollout_console.cli.main import run

REFUSED = [
    ("--plain show", "without show"),
    ("--json", "--json goes with --plain"),
    ("demo -f x.toml", "has a rollout file of its own"),
    ("--file x.toml sim", "has a rollout file of its own"),
    ("demo --plain --headless-seconds 5", "give one of them"),
    ("demo --read-only --headless-seconds 5", "give no --read-only"),
    ("reconcile --since 1h --until 2h", "--since is to be the earlier"),
    ("cost --since 2026-11-02 --until 2026-11-01", "--since is to be the earlier"),
    ("cost --since 2026-11-02 --until 2026-11-02", "--since is to be the earlier"),
    ("reconcile --limit 5", "say which with --pile"),
    ("reconcile --offline --reread", "--reread asks the API"),
    ("reconcile --offline --token-stdin", "--token-stdin is for the API"),
    ("cost --no-pull --token-stdin", "--token-stdin is for the API"),
    ("budgets --no-pull --token-stdin", "--token-stdin is for the API"),
    ("cost --limit 5", "say which with --by"),
    ("cost --by org --limit 5 --json", "--json has all rows"),
    ("report --out - --json", "give one of them"),
    ("models gpt-5.4 --max-price 3", "--max-price chooses from the list"),
    ("models gpt-5.4 --recommended-for image", "--recommended-for chooses from the list"),
    ("models gpt-5.4 --mark-seen", "--mark-seen is of the whole list"),
    ("guard --once --every 5", "give one of them"),
    ("guard --put-back chat --once", "give no --once"),
    ("guard --put-back chat --json", "give no --json"),
    ("guard --put-back chat a b", "one org at most"),
    ("phase --tick pilot.cost", "name the route"),
    ("phase chat --note seen", "say of which check with --tick"),
    ("phase chat --reason seen", "say to which phase with --to"),
    ("probe --every 60s --media", "--media without --every"),
    ("probe --side previous --media", "--media without --side previous"),
    ("rollback chat acme --sick", "give a route at most"),
    ("rollback --sick --new", "--sick finds the names itself"),
    ("set chat acme --all 5", "name no org, alias or flag"),
    ("set chat --all --new 5", "--all is every org with a line"),
    ("set chat acme 5 --alias ci", "one of an org, --alias and --flag"),
    ("set chat acme=5 --flag beta", "one of an org, --alias and --flag"),
    ("set chat 5 --flag beta --alias ci", "one of an org, --alias and --flag"),
    ("set chat 5", "give an org"),
    ("init --org-field tenant", "give --from-openai-log or --orgs-from"),
    ("keys create ci", "say where the secret goes"),
    ("keys usage ci --start 2026-11-02 --end 2026-11-01", "--start is to be the earlier"),
    ("keys usage ci --start 1d --end 2d", "--start is to be the earlier"),
]

TAKEN = [
    "", "--plain --json", "demo --plain", "demo --headless-seconds 5", "sim --port 0",
    "-f x.toml reconcile --since 2h --until 1h --pile matched --limit 5", "reconcile --until 3d",
    "cost --by org --limit 5", "report --out - --yes", "report --json --out folder",
    "models gpt-5.4 --json --offline", "models --changed --mark-seen", "guard --once --json",
    "guard --every 5", "guard --put-back chat acme", "phase", "phase chat --tick a --note b",
    "phase chat --to pilot --reason c", "probe --every 60s --dry-run", "probe --media",
    "rollback --sick", "rollback chat --sick", "rollback chat new-1 --new", "set chat --all 5",
    "set chat acme=5 globex.eu=6 --new", "set chat 5 --flag beta", 'set chat * 5', "set chat a=b 5",
    "init --org-field tenant --orgs-from x.csv", "keys create ci --show-secret",
    "keys usage ci --start 7d", "keys usage ci --start 2026-11-02 --end 2026-11-02",
    "keys usage ci --start soon --end 2026-11-02", "keys list", "jobs list", "export flagd",
]  # fmt: skip


@pytest.mark.parametrize(("line", "said"), REFUSED, ids=[line for line, _ in REFUSED])
def test_what_cannot_be_meant_is_refused_before_anything_is_read(
    line: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(line.split()) == USAGE
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("rollout-console: ")
    assert said in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("line", TAKEN)
def test_what_can_be_meant_is_taken(line: str) -> None:
    assert why_not_together(build_parser().parse_args(line.split())) == ""


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("set chat acme -5", "-5"),
        ("set chat acme=-5 globex.eu=1", "-5"),
        ("set chat acme nonsense=", "is no ORG=PERCENT"),
        ("set chat acme=1 acme=2", "is named twice"),
        ("history --limit -1", "-1 is not from 1 to 1000"),
        ("guard --every -1", "-1"),
        ("reconcile --settle -1", "-1"),
        ("models --max-price -1", "'-1' is not an amount of US dollars"),
        ("check --plan-days -1", "-1"),
        ("web --tabs 0", "0 is not from 1 to 64"),
    ],
)
def test_negative_numbers_and_wrong_words_are_usage(
    line: str, said: str, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = file.read_bytes()
    try:
        code = run(["-f", str(file), *line.split()])
    except SystemExit as ended:
        code = int(str(ended.code))
    assert code == USAGE
    assert said in capsys.readouterr().err
    assert file.read_bytes() == before
