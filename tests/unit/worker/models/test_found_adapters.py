"""Adapters in the model folders: found, and described with their bases."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from wire.model_registry import ModelRecord
from worker.models.adapters.found import adapters_in
from worker.models.downloads import Downloads
from worker.models.files import download_id
from worker.models.folders import ModelFolders, with_kv

LORA = {"fine_tune_type": "lora", "lora_parameters": {"rank": 8, "scale": 20.0}}


def write_model(folder: Path, **config: Any) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "qwen3", **config}))
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


def write_adapter(folder: Path, **config: Any) -> Path:
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text(json.dumps({**LORA, **config}))
    (folder / "adapters.safetensors").write_bytes(b"deltas")
    (folder / "0000100_adapters.safetensors").write_bytes(b"those of an earlier step")
    return folder


def found(*roots: Path) -> dict[str, ModelRecord]:
    folders = ModelFolders(list(roots), with_demos=False)
    return {record.name: record for record in folders.scan()}


@pytest.mark.parametrize("place", ["pirate", "people/pirate", "Qwen/pirate"])
@pytest.mark.parametrize("named", ["{path}", "/Users/ann/models/Qwen", "someone/Qwen"])
def test_an_adapter_is_found_and_has_what_its_base_has(
    tmp_path: Path, place: str, named: str
) -> None:
    base_folder = write_model(tmp_path / "Qwen", max_position_embeddings=512)
    write_adapter(tmp_path / place, model=named.format(path=base_folder))
    records = found(tmp_path)
    base, adapter = records["Qwen"], records["Qwen+pirate"]
    assert (adapter.base_id, adapter.problem) == (base.id, "")
    assert (adapter.path, adapter.context_window) == (base.path, 512)
    assert adapter.adapter_path == str(tmp_path / place)
    assert adapter.size == len(b"deltas")
    assert adapter.id != base.id


def test_an_adapter_in_a_hubs_cache_has_its_repositorys_name(tmp_path: Path) -> None:
    hub = tmp_path / "hub"
    write_model(hub / "models--org--Qwen" / "snapshots" / "abc")
    write_adapter(hub / "models--ann--pirate" / "snapshots" / "def", model="org/Qwen")
    record = found(hub)["Qwen+pirate"]
    assert (record.repository, record.problem) == ("org/Qwen+pirate", "")


def test_an_adapter_of_peft_is_found_by_the_model_that_it_names(tmp_path: Path) -> None:
    write_model(tmp_path / "Qwen")
    write_model(tmp_path / "Falcon", model_type="falcon_h1")
    for name in ("Qwen", "Falcon"):
        folder = tmp_path / f"of-{name}"
        folder.mkdir()
        config = {"peft_type": "LORA", "base_model_name_or_path": f"org/{name}", "r": 8}
        (folder / "adapter_config.json").write_text(json.dumps(config))
        (folder / "adapter_model.safetensors").write_bytes(b"weights of PEFT")
    records = found(tmp_path)
    served = records["Qwen+of-Qwen"]
    assert (served.problem, served.size) == ("", len(b"weights of PEFT"))
    assert "mlx_lm changes the weights" in records["Falcon+of-Falcon"].problem


def test_a_folder_with_far_too_much_in_it_does_not_hold_up_the_scan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(20):
        write_adapter(tmp_path / "people" / f"adapter{i:02}")
    looked_at: list[Path] = []
    is_file = Path.is_file

    def noted(path: Path) -> bool:
        looked_at.append(path.parent)
        return is_file(path)

    monkeypatch.setattr("worker.models.files.MOST_FOLDERS", 5)
    monkeypatch.setattr(Path, "is_file", noted)
    assert len(list(adapters_in([tmp_path], []))) == 5
    assert len({path for path in looked_at if path.parent == tmp_path / "people"}) == 5


def test_a_downloaded_adapter_has_its_repositorys_name_and_can_be_deleted(tmp_path: Path) -> None:
    write_model(tmp_path / "models" / "Qwen")
    there = tmp_path / "data"
    for name in ("ann--pirate", "bob--half.partial"):
        write_adapter(there / name, model="org/Qwen")
    # Some repositories have their base's config, too.
    (there / "ann--pirate" / "config.json").write_text('{"model_type": "qwen3"}')
    folders = ModelFolders([tmp_path / "models"], with_demos=False, downloaded=there)
    assert {record.name for record in folders.scan()} == {"Qwen", "Qwen+pirate"}
    record = folders.find("ann/pirate")
    assert record is not None
    assert record == folders.find("Qwen+pirate")
    assert (record.problem, record.deletable) == ("", True)
    assert record.id == download_id("ann--pirate")
    Downloads(there, lambda _: None).delete(record)
    assert {record.name for record in folders.scan()} == {"Qwen"}
    assert (tmp_path / "models" / "Qwen" / "config.json").is_file()


def test_other_weights_make_another_model_of_an_adapter(tmp_path: Path) -> None:
    write_model(tmp_path / "Qwen")
    folder = write_adapter(tmp_path / "pirate", model="Qwen")
    before = found(tmp_path)["Qwen+pirate"]
    (folder / "adapters.safetensors").write_bytes(b"others")
    after = found(tmp_path)["Qwen+pirate"]
    assert before.revision != after.revision
    (tmp_path / "Qwen" / "model.safetensors").write_bytes(b"of its base")
    assert found(tmp_path)["Qwen+pirate"].revision not in (before.revision, after.revision)


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"fine_tune_type": "full"}, "it is a full fine-tune"),
        ({"fine_tune_type": "prompt"}, "its fine_tune_type is neither lora nor dora"),
        ({"lora_parameters": {"rank": 8}}, "no lora_parameters with a scale"),
        ({"lora_parameters": {"scale": float("nan")}}, "no lora_parameters with a scale"),
        ({"fine_tune_type": "dora", "lora_parameters": {}}, "no lora_parameters with a scale"),
        ({"peft_type": "LORA"}, "it has no adapter_model.safetensors"),
        ({"peft_type": "IA3"}, "its peft_type is IA3, and of PEFT's adapters only LORA is served"),
        ({"peft_type": "LORA", "use_dora": True}, "its config has use_dora"),
        ({"peft_type": "LORA", "modules_to_save": ["lm_head"]}, "its config has modules_to_save"),
        ({"peft_type": "LORA", "bias": "lora_only"}, "its config has bias lora_only"),
        ({"peft_type": "LORA", "init_lora_weights": "pissa_niter_4"}, "changed the weights of"),
        ({"peft_type": "LORA", "r": 0}, "its r is not a rank"),
        ({"peft_type": "LORA", "r": True}, "its r is not a rank"),
        ({"peft_type": "LORA", "lora_alpha": float("inf")}, "its lora_alpha is not a number"),
        ({"peft_type": "LORA", "rank_pattern": {"q_proj": 1.5}}, "its rank_pattern is not a rank"),
        ({"peft_type": "LORA", "alpha_pattern": {"(a+)+": 2}}, "its alpha_pattern has more than"),
        ({"peft_type": "LORA", "alpha_pattern": ["q_proj"]}, "its alpha_pattern has more than"),
        ({"model": "Llama-7B"}, "its base model Llama-7B is not here"),
        ({"model": None}, "its config names no base model"),
        ({"model": ["Qwen"]}, "its config names no base model"),
        ({"model": "Seeing"}, "run by mlx_vlm"),
        ({"model": "Bert"}, "answers no chats"),
    ],
)
def test_what_cannot_be_served_is_listed_with_the_reason(
    tmp_path: Path, config: dict[str, Any], why: str
) -> None:
    write_model(tmp_path / "Qwen")
    write_model(tmp_path / "Seeing", model_type="qwen2_vl", vision_config={})
    write_model(tmp_path / "Bert", model_type="bert")
    write_adapter(tmp_path / "pirate", **{"model": "Qwen", **config})
    (record,) = [one for name, one in found(tmp_path).items() if name.endswith("+pirate")]
    assert record.problem.startswith(f"The adapter {record.name} can't be used: ")
    assert why in record.problem


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff\xfe"])
def test_a_config_that_cannot_be_read_is_a_reason_and_no_error(
    tmp_path: Path, content: bytes
) -> None:
    folder = write_adapter(tmp_path / "pirate")
    (folder / "adapter_config.json").write_bytes(content)
    assert "can't be read" in found(tmp_path)["unknown+pirate"].problem


def test_a_model_and_its_adapters_have_one_kind_of_cache(tmp_path: Path) -> None:
    write_model(tmp_path / "Qwen")
    write_adapter(tmp_path / "pirate", model="Qwen")
    folders = ModelFolders([tmp_path], with_demos=False)
    folders.scan()
    base = folders.find("Qwen")
    assert base is not None
    folders.put(with_kv(base, 4))
    assert {one.kv_quantization for one in folders.all()} == {4}
    assert {one.kv_quantization for one in folders.scan()} == {4}
