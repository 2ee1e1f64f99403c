"""Model folders become records; nothing outside the configured folders is read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from wire.model_registry import ModelRecord
from worker.errors import WorkerError
from worker.models.folders import ModelFolders, describe, with_kv


def model_folder(folder: Path, weights: bytes = b"weights", **config: Any) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(
        json.dumps({"model_type": "qwen3", **config}), encoding="utf-8"
    )
    (folder / "model.safetensors").write_bytes(weights)
    return folder


def test_a_folder_is_described_without_opening_its_weights(tmp_path: Path) -> None:
    record = describe(model_folder(tmp_path / "tiny", max_position_embeddings=4096))
    assert record is not None
    assert (record.name, record.architecture, record.context_window, record.size) == (
        "tiny",
        "qwen3",
        4096,
        7,
    )
    assert not record.is_vision


def test_the_kind_comes_from_the_config_and_not_from_the_name(tmp_path: Path) -> None:
    text = {"max_position_embeddings": 99}
    record = describe(
        model_folder(tmp_path / "plain-text-model", vision_config={}, text_config=text)
    )
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
    catalogue = ModelFolders([tmp_path])
    catalogue.scan()
    names = {record.name for record in catalogue.all()}
    assert {"plain", "tiny-4bit"} <= names
    assert "broken" not in names
    assert catalogue.find("owner/tiny-4bit") is not None


def test_what_lies_in_a_model_that_was_named_itself_is_no_model(tmp_path: Path) -> None:
    """Embedding models have folders with a config.json for their pooling, and some with weights."""
    root = model_folder(tmp_path / "vectors")
    model_folder(root / "2_Dense")
    (root / "1_Pooling").mkdir()
    (root / "1_Pooling" / "config.json").write_text("{}", encoding="utf-8")
    assert [record.name for record in ModelFolders([root], with_demos=False).scan()] == ["vectors"]


def test_a_scan_keeps_how_a_model_is_quantised(tmp_path: Path) -> None:
    model_folder(tmp_path / "plain")
    catalogue = ModelFolders([tmp_path])
    catalogue.scan()
    record = catalogue.find("plain")
    assert record is not None
    catalogue.put(with_kv(record, 4))
    catalogue.scan()
    assert catalogue.find("plain") == with_kv(record, 4)


def test_a_scan_keeps_a_draft_model_that_is_still_there(tmp_path: Path) -> None:
    catalogue = ModelFolders([model_folder(tmp_path / "small").parent], with_demos=False)
    model_folder(tmp_path / "large")
    small, large = sorted(catalogue.scan(), key=lambda r: r.name, reverse=True)
    catalogue.put(large.with_draft(small))
    catalogue.scan()
    assert catalogue.find("large") == large.with_draft(small)
    shutil.rmtree(tmp_path / "small")
    catalogue.scan()
    assert catalogue.find("large") == large


@pytest.mark.parametrize(
    "path", ["/etc", "..", "../outside", "inside/../../outside", "inside/nothing", "\0"]
)
def test_paths_outside_the_folders_or_without_a_model_are_not_found(
    tmp_path: Path, path: str
) -> None:
    model_folder(tmp_path / "outside")
    (tmp_path / "inside" / "nothing").mkdir(parents=True)
    (tmp_path / "inside" / "link").symlink_to(tmp_path / "outside")
    catalogue = ModelFolders([tmp_path / "inside"])
    for tried in (path, str(tmp_path / path), str(tmp_path / "inside" / "link")):
        with pytest.raises(WorkerError) as caught:
            catalogue.register("x", tried)
        assert caught.value.code == "model_not_found"


def test_a_folder_inside_is_registered_under_its_new_name(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "inside" / "deep" / "model")
    catalogue = ModelFolders([tmp_path / "inside"])
    record = catalogue.register("mine", str(folder))
    assert catalogue.find("mine") == record


def test_models_in_their_publishers_folders_are_found_under_both_names(tmp_path: Path) -> None:
    model_folder(tmp_path / "mlx-community" / "Tiny-4bit")
    model_folder(tmp_path / "mlx-community" / ".partial" / "Hidden")
    model_folder(tmp_path / "alone")
    model_folder(tmp_path / "alone" / "part")
    (tmp_path / "pictures" / "text_encoder").mkdir(parents=True)
    (tmp_path / "pictures" / "model_index.json").write_text("{}", encoding="utf-8")
    model_folder(tmp_path / "pictures" / "unet")
    (tmp_path / "project" / "settings").mkdir(parents=True)
    (tmp_path / "project" / "settings" / "config.json").write_text("{}", encoding="utf-8")
    model_folder(tmp_path / "far" / "too" / "deep")
    catalogue = ModelFolders([tmp_path])
    found = {record.name for record in catalogue.scan() if record.path.startswith(str(tmp_path))}
    assert found == {"Tiny-4bit", "alone"}
    assert catalogue.find("mlx-community/Tiny-4bit") == catalogue.find("Tiny-4bit") is not None


def test_a_folder_with_far_too_much_in_it_does_not_hold_up_the_scan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(20):
        model_folder(tmp_path / "publisher" / f"model{i:02}")
    monkeypatch.setattr("worker.models.files.MOST_FOLDERS", 5)
    found = [
        record
        for record in ModelFolders([tmp_path]).scan()
        if record.path.startswith(str(tmp_path))
    ]
    assert len(found) == 5


def test_what_is_put_while_the_folders_are_read_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model_folder(tmp_path / "model")
    folders = ModelFolders([tmp_path], with_demos=False)
    [record] = folders.scan()

    def describe_slowly(*args: Any, **named: Any) -> ModelRecord | None:
        described = describe(*args, **named)
        folders.put(with_kv(record, 4))
        return described

    monkeypatch.setattr("worker.models.folders.describe", describe_slowly)
    assert [one.kv_quantization for one in folders.scan()] == [4]


def test_a_folder_without_models_is_named_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ModelFolders([tmp_path]).scan()
    (line,) = caplog.records
    assert (line.getMessage(), vars(line)["folder"]) == (
        "no model in a model folder",
        str(tmp_path),
    )


def test_a_registered_name_stays_over_scans_and_restarts(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "inside" / "a" / "b" / "model")
    names = tmp_path / "data" / "names.json"
    catalogue = ModelFolders([tmp_path / "inside"], registered=names)
    record = catalogue.register("mine", str(folder))
    catalogue.scan()
    assert catalogue.find("mine") == record
    again = ModelFolders([tmp_path / "inside"], registered=names)
    again.scan()
    assert again.find("mine") == record
    elsewhere = ModelFolders([tmp_path / "data"], registered=names)
    elsewhere.scan()
    assert elsewhere.find("mine") is None


@pytest.mark.parametrize("text", ["{", "[]", "\xff", '{"mine": 7}'])
def test_names_that_cannot_be_read_are_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "names.json").write_text(text, encoding="latin-1")
    catalogue = ModelFolders([tmp_path], registered=tmp_path / "names.json")
    assert {record.name for record in catalogue.scan()} == {"demo-chat", "demo-vision"}


def test_a_name_that_cannot_be_kept_is_refused(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "inside" / "model")
    (tmp_path / "file").write_text("", encoding="utf-8")
    catalogue = ModelFolders([tmp_path / "inside"], registered=tmp_path / "file" / "names.json")
    with pytest.raises(WorkerError) as refused:
        catalogue.register("mine", str(folder))
    assert refused.value.code == "insufficient_disk"
    assert catalogue.find("mine") is None


def test_the_shipped_models_are_marked_and_can_be_left_out() -> None:
    shipped = ModelFolders([]).scan()
    assert {record.name: record.demo for record in shipped} == {
        "demo-chat": True,
        "demo-vision": True,
    }
    assert ModelFolders([], with_demos=False).scan() == []
