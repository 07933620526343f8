"""The SDKs' own test suites, as they are and with every client wrapped by the gate.

``python -m tests.load.suites [openai] [anthropic] [google]`` installs each SDK with what its tests
need in an environment of its own, fetches the tests of that release from its source archive, runs
them plain, decided for the previous provider and decided for TokenLab, and prints a table of what
differs and why. It ends with 1 where a difference has no reason here. Some twenty minutes.
"""

import os
import re
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from tests.support.tar import unpack

ROOT = Path(__file__).resolve().parents[3]
FOLDER = Path(os.environ.get("ROLLOUT_SUITES", Path(tempfile.gettempdir()) / "rollout-suites"))
MODES = ("plain", "previous", "tokenlab")

_SHARED = (
    "pytest>=9", "pytest-asyncio", "pytest-xdist", "pytest-timeout", "mmh3>=5.1,<6", "msgspec",
    "httpx>=0.28.1", "setuptools>=77", "wheel",
)  # fmt: skip


@dataclass(frozen=True)
class Suite:
    """One SDK at one release: what its tests need, which of them run without a live API."""

    sdk: str
    package: str
    version: str
    base_url: str
    needs: tuple[str, ...]
    tests: tuple[str, ...]
    options: tuple[str, ...] = ()
    inside: str = ""


SUITES = (
    Suite(
        "openai", "openai", "3.57.0", "http://127.0.0.1:4010/v1",
        ("inline-snapshot", "dirty-equals", "rich", "trio", "azure-identity", "nest-asyncio",
         "botocore", "pillow", "griffe", "pandas", "numpy", "websockets", "aiohttp",
         "httpx-aiohttp"),
        ("tests", "--ignore=tests/api_resources"),
    ),
    Suite(
        "anthropic", "anthropic", "2.14.0", "http://127.0.0.1:4010",
        ("respx", "inline-snapshot", "dirty-equals", "rich", "trio", "time-machine", "boto3",
         "google-auth", "requests", "opentelemetry-api", "opentelemetry-sdk", "aiohttp",
         "httpx-aiohttp", "http-snapshot[httpx]==0.1.9", "nest-asyncio"),
        ("tests", "--ignore=tests/api_resources"), ("-p", "tests._alias_httpx"),
    ),
    Suite(
        "google", "google-genai", "3.6.1", "https://generativelanguage.googleapis.com",
        ("aiohttp", "pillow", "sentencepiece"),
        ("client", "types", "chats", "transformers", "common", "errors", "afc", "imports", "mcp"),
        inside="google/genai/tests",
    ),
)  # fmt: skip

_PRIVATE = "the test looks into private parts of the SDK's own client"
_ELSEWHERE = "the test answers at another host or path than TokenLab's"
_LEFT_OUT = "TokenLab is not sent what is not known to be its own"
_OWN_KEY = "TokenLab gets its own key, not the one that the SDK sends or renews"
REASONS = (
    (r"console\.gate\.transport|GateTransport|_loop_clients|_client_for_running_loop", _PRIVATE),
    (r"'wrapped_by_gate' == 'httpx2'", _PRIVATE),
    (r"test_proxy_environment_variables|test_default_client_proxy_arguments", _PRIVATE),
    (r"test_httpx_objects_rejected", "the gate's client refuses these itself, as its inner"),
    (r"some routes were not called|Name or service not known|Connection error", _ELSEWHERE),
    (r"tokenlab-key-of-the-suite|x_api_key_by_hand", _OWN_KEY),
    (r"test_open_telemetry|KeyError: '(fallback_credit_token|x-|X-|baggage)", _LEFT_OUT),
    (r"KeyError: 'anthropic-user-profile-id", _LEFT_OUT),
    (r"QueryParams|\(None, |False, False|True, True, False|assert None ==", _LEFT_OUT),
)
"""What is found in a test's name and message, and why it fails there."""

Results = dict[str, tuple[str, str]]


def main(names: list[str]) -> int:
    """Run the suites that are named, or all; return 1 where a difference has no reason."""
    unexplained = 0
    for suite in SUITES:
        if not names or suite.sdk in names:
            unexplained += _suite(suite)
    return 1 if unexplained else 0


def _suite(suite: Suite) -> int:
    python, source = _installed(suite)
    found: dict[str, Results] = {}
    began: dict[str, int] = {}
    for mode in MODES:
        found[mode], began[mode] = _run(suite, python, source, mode)
    plain = found["plain"]
    print(f"\n{suite.package} {suite.version}: {_counted(plain)}")
    unexplained = 0
    for mode in MODES[1:]:
        differs = [one for one in _differences(plain, found[mode]) if one[0] in plain]
        reasons = Counter(_reason(f"{name} {message}") for name, _, message in differs)
        print(f"  {mode}: {_counted(found[mode])}, {began[mode]} requests by the gate's clients")
        for reason, count in reasons.most_common():
            print(f"    {count:>4} differ: {reason or 'NO REASON'}")
        for name, status, message in differs:
            if not _reason(f"{name} {message}"):
                unexplained += 1
                print(f"         {name}: {status}, {message[:160]}")
    return unexplained


def _installed(suite: Suite) -> tuple[Path, Path]:
    """Return the interpreter of the suite's environment and the folder of its source."""
    home = FOLDER / suite.sdk
    python = home / "venv" / "bin" / "python"
    if not python.exists():
        home.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, "-m", "venv", home / "venv"], check=True)
        wanted = (f"{suite.package}=={suite.version}", *_SHARED, *suite.needs)
        subprocess.run([python, "-m", "pip", "install", "-q", *wanted], check=True)
    name = f"{suite.package.replace('-', '_')}-{suite.version}"
    if not (home / name).exists():
        archive = home / f"{name}.tar.gz"
        if not archive.exists():
            command = [
                str(python),
                "-m",
                "pip",
                "download",
                "-q",
                "--no-deps",
                "--no-binary",
                ":all:",
            ]
            command += ["--no-build-isolation"] if suite.inside else []
            command += [f"{suite.package}=={suite.version}", "-d", str(home)]
            subprocess.run(command, check=True)
        with tarfile.open(archive) as tar:
            unpack(tar, home)
    return python, home / name


def _run(suite: Suite, python: Path, source: Path, mode: str) -> tuple[Results, int]:
    report, counts = source.parent / f"{mode}.xml", source.parent / f"{mode}.counts"
    counts.write_text("")
    where, tests = source, list(suite.tests)
    if suite.inside:  # tests inside the package are run where that is installed
        where = source.parent
        code = "import google.genai as g; print(g.__path__[0])"
        place = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
        there = Path(place.stdout.strip()) / "tests"
        if not there.exists():
            subprocess.run(["cp", "-r", source / suite.inside, there], check=True)
        tests = [str(there / one) for one in suite.tests]
    environment = {
        **os.environ, "GATE_SDK": suite.sdk, "GATE_SIDE": "" if mode == "plain" else mode,
        "GATE_BASE_URL": suite.base_url, "GATE_COUNTS": str(counts),
        "TEST_API_BASE_URL": suite.base_url, "GOOGLE_API_KEY": "k",
        "PYTHONPATH": os.pathsep.join((str(Path(__file__).parent / "plugin"), str(ROOT))),
    }  # fmt: skip
    subprocess.run(
        [
            *(python, "-m", "pytest", "-p", "wrapped_by_gate", "-p", "no:cacheprovider", "-q"),
            *("-n", "2", "--timeout=120", "-W", "ignore::DeprecationWarning"),
            *("-o", "addopts=--tb=short", f"--junitxml={report}", *suite.options, *tests),
        ],
        cwd=where, env=environment, check=False, capture_output=True,
    )  # fmt: skip
    return _results(report), sum(int(line) for line in counts.read_text().split())


def _results(report: Path) -> Results:
    """Return status and message of each test; a failure at its end counts as one of the test."""
    found: Results = {}
    for case in ElementTree.parse(report).iter("testcase"):
        name = f"{case.get('classname')}::{case.get('name')}"
        status, message = "passed", ""
        for child in case:
            if child.tag in ("failure", "error"):
                status, message = "failed", (child.get("message") or "").replace("\n", " ")
            elif child.tag == "skipped":
                status = "skipped"
        found[re.sub(r"Wrapped\d?|_?DefaultA?s?y?n?c?Httpx2?Client", "CLIENT", name)] = (
            status, message,
        )  # fmt: skip
    return found


def _differences(plain: Results, wrapped: Results) -> list[tuple[str, str, str]]:
    return [
        (name, *wrapped.get(name, ("missing", "")))
        for name, (status, _) in plain.items()
        if status != wrapped.get(name, ("missing", ""))[0]
    ]


def _reason(text: str) -> str:
    return next((reason for sign, reason in REASONS if re.search(sign, text)), "")


def _counted(results: Results) -> str:
    counts = Counter(status for status, _ in results.values())
    return ", ".join(f"{counts[one]:,} {one}" for one in ("passed", "failed", "skipped"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
