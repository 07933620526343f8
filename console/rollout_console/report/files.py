"""Write a report to a folder: Markdown, charts and figures, over nothing without being told to."""

from collections.abc import Callable
from pathlib import Path

from rollout_console.changes.output_file import write_output
from rollout_console.common.errors import OperationError
from rollout_console.report.incident import Incident
from rollout_console.report.markdown import TITLE, as_markdown
from rollout_console.report.svg import MARK, as_svg
from rollout_console.report.tables import COLUMNS, as_csv

_WHAT = "an earlier report"


class ReportExists(OperationError):
    """A report of the incident is there already; it is replaced only when that is agreed to."""


def write_report(
    incident: Incident, folder: Path, *, rollout_file: Path, replaces: bool
) -> list[Path]:
    """Write the three files, each atomically; return their paths.

    The folder is made where it is missing. Raises ReportExists where one of the files is there,
    unless it ``replaces`` an earlier report, and OperationError where a file is something else or
    cannot be written.
    """
    paths = [folder / f"{incident.name}{suffix}" for suffix in (".md", ".svg", ".csv")]
    try:
        there = [path for path in paths if path.exists() or path.is_symlink()]
        if there and not replaces:
            raise ReportExists(f"{there[0]} is there already")
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        why = error.strerror or "it cannot be used"
        raise OperationError(f"{folder} cannot be written to: {why}; give another folder") from None
    texts: tuple[tuple[str, Callable[[bytes], bool]], ...] = (
        (as_markdown(incident), lambda head: head.startswith(TITLE.encode())),
        (as_svg(incident), lambda head: MARK.encode() in head),
        (as_csv(incident), lambda head: head.startswith(",".join(COLUMNS).encode())),
    )
    for path, (text, is_what) in zip(paths, texts, strict=True):
        data = text.encode("utf-8", "backslashreplace")
        write_output(path, data, rollout_file=rollout_file, what=_WHAT, is_what=is_what)
    return paths
