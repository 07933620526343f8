"""Unpack tar archives on every Python from 3.11.0 on."""

import tarfile
from pathlib import Path


def unpack(archive: tarfile.TarFile, folder: Path) -> None:
    """Extract all members with the data filter (PEP 706), which Python 3.11.2 does not have yet."""
    archive.extraction_filter = getattr(tarfile, "data_filter", lambda member, _path: member)
    archive.extractall(folder)
