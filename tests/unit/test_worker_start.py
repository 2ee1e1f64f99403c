"""What a worker makes sure of before it takes any work: one clear line when something is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from worker.__main__ import lock_folder


def test_a_data_folder_that_is_a_file_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit, match=r"^worker: the data folder cannot be used: "):
        lock_folder(tmp_path / "file")


def test_a_second_worker_on_a_folder_is_refused_and_the_first_keeps_it(tmp_path: Path) -> None:
    first = lock_folder(tmp_path)
    for _ in range(2):
        with pytest.raises(SystemExit, match="another worker runs on"):
            lock_folder(tmp_path)
    first.close()
    lock_folder(tmp_path).close()
