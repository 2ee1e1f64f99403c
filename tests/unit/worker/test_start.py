"""What a worker checks before it starts: one clear line when something is missing."""

from __future__ import annotations

import logging
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from wire.settings import Settings
from worker import __main__ as start
from worker import backends
from worker.__main__ import lock_folder
from worker.backends import mlx_import


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Starting a worker replaces the root logger's handlers, here by one on captured output."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


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


def test_an_installation_that_cannot_load_a_model_ends_the_start_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A worker must not be ready if every chat on it would fail."""
    monkeypatch.setitem(sys.modules, "worker.backends.lm", None)
    monkeypatch.setattr(sys, "argv", ["worker", "--data", str(tmp_path)])
    monkeypatch.setattr(start, "build", lambda _: pytest.fail("the start went on"))
    with pytest.raises(SystemExit) as ended:
        start.main()
    assert ended.value.code == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert message.startswith("worker: MLX or a model library can't be loaded (")
    assert "mlxq doctor" in message


def test_the_backend_of_tests_needs_no_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        mlx_import, "import_libraries", lambda: pytest.fail("the libraries were imported")
    )
    backends.load_libraries(Settings(backend="echo"))


@pytest.mark.parametrize(
    ("limits", "set_to"),
    [
        ((256, 1024), (1024, 1024)),
        ((1024, 1024), None),
        ((256, 20_000), (2048, 20_000)),
        ((20_000, 20_000), None),
    ],
)
def test_a_library_raises_the_limit_of_open_files_within_the_hard_one_and_lowers_nothing(
    monkeypatch: pytest.MonkeyPatch, limits: tuple[int, int], set_to: tuple[int, int] | None
) -> None:
    applied: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits)
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: applied.append(limits))
    with mlx_import.open_files_limit_kept():
        resource.setrlimit(resource.RLIMIT_NOFILE, (2048, 4096))
    assert applied == ([] if set_to is None else [set_to])
