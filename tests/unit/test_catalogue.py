"""Model folders become records; nothing outside the configured folders is looked at."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from worker.catalogue import Catalogue, describe, with_kv
from worker.errors import WorkerError


def model_folder(folder: Path, weights: bytes = b"weights", **config: Any) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "qwen3", **config}), encoding="utf-8")
    (folder / "model.safetensors").write_bytes(weights)
    return folder


def test_a_folder_is_described_without_opening_its_weights(tmp_path: Path) -> None:
    record = describe(model_folder(tmp_path / "tiny", max_position_embeddings=4096))
    assert record is not None
    assert (record.name, record.architecture, record.context_window, record.size) == ("tiny", "qwen3", 4096, 7)
    assert not record.is_vision


def test_the_kind_comes_from_the_config_and_not_from_the_name(tmp_path: Path) -> None:
    text = {"max_position_embeddings": 99}
    record = describe(model_folder(tmp_path / "plain-text-model", vision_config={}, text_config=text))
    assert record is not None
    assert record.is_vision
    assert record.context_window == 99


def test_other_weights_make_another_revision_and_the_same_do_not(tmp_path: Path) -> None:
    first = describe(model_folder(tmp_path / "a" / "m"))
    same = describe(model_folder(tmp_path / "b" / "m"))
    other = describe(model_folder(tmp_path / "c" / "m", weights=b"weightz"))
    assert first is not None
    assert same is not None
    assert other is not None
    assert (first.id, first.revision) == (same.id, same.revision)
    assert other.revision != first.revision


def test_a_scan_finds_folders_and_hub_caches_and_skips_broken_ones(tmp_path: Path) -> None:
    model_folder(tmp_path / "plain")
    model_folder(tmp_path / "models--owner--tiny-4bit" / "snapshots" / "abc")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text("{", encoding="utf-8")
    catalogue = Catalogue([tmp_path])
    catalogue.scan()
    names = {record.name for record in catalogue.all()}
    assert {"plain", "tiny-4bit"} <= names
    assert "broken" not in names
    assert catalogue.find("owner/tiny-4bit") is not None


def test_a_scan_keeps_how_a_model_is_quantised(tmp_path: Path) -> None:
    model_folder(tmp_path / "plain")
    catalogue = Catalogue([tmp_path])
    catalogue.scan()
    record = catalogue.find("plain")
    assert record is not None
    catalogue.put(with_kv(record, 4))
    catalogue.scan()
    assert catalogue.find("plain") == with_kv(record, 4)


@pytest.mark.parametrize("path", ["/etc", "..", "../outside", "inside/../../outside", "inside/nothing", "\0"])
def test_paths_outside_the_folders_or_without_a_model_are_not_found(tmp_path: Path, path: str) -> None:
    model_folder(tmp_path / "outside")
    (tmp_path / "inside" / "nothing").mkdir(parents=True)
    (tmp_path / "inside" / "link").symlink_to(tmp_path / "outside")
    catalogue = Catalogue([tmp_path / "inside"])
    for tried in (path, str(tmp_path / path), str(tmp_path / "inside" / "link")):
        with pytest.raises(WorkerError) as caught:
            catalogue.register("x", tried)
        assert caught.value.code == "model_not_found"


def test_a_folder_inside_is_registered_under_its_new_name(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "inside" / "deep" / "model")
    catalogue = Catalogue([tmp_path / "inside"])
    record = catalogue.register("mine", str(folder))
    assert catalogue.find("mine") == record
