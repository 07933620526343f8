"""A ledger in a folder that the operator may not write to."""

import os

import pytest

from rollout_console.common.errors import OperationError
from rollout_console.jobs.job_book import JobBook
from tests.jobs.ledgers import NOW, create, write
from tests.support.unprivileged import NOBODY, as_nobody, folder_of_nobody


def test_an_operator_who_may_not_write_there_reads_it_all_the_same() -> None:
    with folder_of_nobody() as folder:
        path = write(folder, create("a", ago=1))
        assert not path.with_name(f"{path.name}-shm").exists(), "its last writer has closed it"
        folder.chmod(0o555)
        os.chown(folder, 0 if os.geteuid() == 0 else -1, -1)
        os.chown(path, -1, NOBODY if os.geteuid() == 0 else -1)  # the operator's group

        def read() -> None:
            assert len(JobBook(path).rows(NOW)) == 1
            assert [one.name for one in folder.iterdir()] == [path.name]

        as_nobody(read)
        folder.chmod(0o755)


def test_an_operator_who_is_not_in_its_group_is_told_so() -> None:
    with folder_of_nobody() as folder:
        path = write(folder, create("a", ago=1))
        if os.geteuid() != 0:
            path.chmod(0o000)

        def read() -> None:
            with pytest.raises(OperationError) as found:
                JobBook(path).rows(NOW)
            said = f"{path} cannot be read: its mode closes it to this user"
            assert str(found.value) == f"{said}; add the user to its group"

        as_nobody(read)
