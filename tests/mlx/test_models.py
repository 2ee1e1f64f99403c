"""Model folders that are broken, and conversations that are too long: errors with a code, and the
process lives."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.mlx.conftest import Bench
from wire.messages import Message
from wire.model_registry import ModelRecord
from worker.backends.batching import kv_cache
from worker.backends.lm import open_model
from worker.backends.prompting.counter import open_counter
from worker.errors import WorkerError
from worker.models.folders import describe, with_kv
from worker.prompt_cache import PromptCache
from worker.sequence import Sequence


def load(folder: Path, kv: Any = None) -> None:
    described = describe(folder, name="broken")
    assert described is not None
    cache = PromptCache(1 << 20, kv_cache)
    list(open_model(with_kv(described, kv), slots=2, prefill_step=32, cache=cache).start())


@pytest.fixture
def copy(record: ModelRecord, tmp_path: Path) -> Path:
    return Path(shutil.copytree(record.path, tmp_path / "copy"))


def test_a_folder_without_weights_does_not_load(copy: Path) -> None:
    (copy / "model.safetensors").unlink()
    with pytest.raises(WorkerError) as caught:
        load(copy)
    assert caught.value.code == "load_failed"
    assert str(copy) not in caught.value.message


def test_weights_cut_short_do_not_load(copy: Path) -> None:
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(WorkerError) as caught:
        load(copy)
    assert caught.value.code == "load_failed"


def test_an_unknown_architecture_does_not_load(copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "model_type": "nosuch"}))
    with pytest.raises(WorkerError) as caught:
        load(copy)
    assert caught.value.code == "load_failed"


def test_code_in_a_model_folder_is_not_run(copy: Path, tmp_path: Path) -> None:
    marker = tmp_path / "was-run"
    (copy / "evil.py").write_text(f"import pathlib\npathlib.Path({str(marker)!r}).touch()\n")
    config = json.loads((copy / "config.json").read_text())
    hooks = {
        "auto_map": {
            "AutoConfig": "evil.X",
            "AutoModel": "evil.X",
            "AutoTokenizer": ["evil.X", "evil.X"],
        }
    }
    (copy / "config.json").write_text(json.dumps({**config, **hooks, "model_file": None}))
    load(copy)
    assert not marker.exists()


def test_a_config_that_names_a_code_file_does_not_load(copy: Path, tmp_path: Path) -> None:
    """mlx_lm imports the file that ``model_file`` names: a folder that has one is refused before
    it is read."""
    marker = tmp_path / "was-run"
    (copy / "evil.py").write_text(f"import pathlib\npathlib.Path({str(marker)!r}).touch()\n")
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "model_file": "evil.py"}))
    with pytest.raises(WorkerError) as caught:
        load(copy)
    assert caught.value.code == "load_failed"
    assert not marker.exists()


@pytest.mark.parametrize("kind", ["moondream1", "moondream2"])
def test_a_model_whose_library_fetches_code_does_not_load(copy: Path, kind: str) -> None:
    """mlx_vlm has their tokeniser from another repository, and runs that one's code."""
    config = json.loads((copy / "config.json").read_text())
    changed = {**config, "model_type": kind, "vision_config": {}}
    (copy / "config.json").write_text(json.dumps(changed))
    with pytest.raises(WorkerError, match="fetches its tokeniser") as caught:
        load(copy)
    assert caught.value.code == "load_failed"


@pytest.mark.parametrize("kind", ["got", "inkling"])
def test_code_of_a_vision_models_folder_is_not_run(copy: Path, tmp_path: Path, kind: str) -> None:
    """mlx_vlm asks transformers to run GOT-OCR's and Inkling's, whatever the service says."""
    marker = tmp_path / "was-run"
    (copy / "evil.py").write_text(f"import pathlib\npathlib.Path({str(marker)!r}).touch()\n")
    hooks = {"auto_map": {"AutoConfig": "evil.X", "AutoTokenizer": [None, "evil.X"]}}
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "model_type": kind, **hooks}))
    (copy / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "X", **hooks}))
    record = describe(copy)
    assert record is not None
    with pytest.raises(WorkerError, match="could not be loaded"):
        open_counter(record)
    assert not marker.exists()


def test_a_head_size_that_cannot_be_quantised_is_refused_at_load(tmp_path: Path) -> None:
    from scripts.training.random_text_model import Shape, make

    folder = make(
        tmp_path / "odd",
        Shape(hidden=48, layers=1, intermediate=64, heads=2, head_dim=24, vocabulary=600),
    )
    with pytest.raises(WorkerError) as caught:
        load(folder, kv=4)
    assert caught.value.code == "load_failed"
    load(folder)


def test_a_template_that_raises_is_an_error_of_its_own(copy: Path) -> None:
    (copy / "chat_template.jinja").write_text("{{ raise_exception('no') }}")
    described = describe(copy, name="bad-template")
    assert described is not None
    bench = Bench(described)
    with pytest.raises(WorkerError) as caught:
        bench.backend.prepare(bench.chat("hello"))
    assert caught.value.code == "template_failed"


def test_a_long_conversation_is_shortened_with_a_warning(bench: Bench) -> None:
    turns: list[Message] = [Message(role="system", content="be brief")]
    for i in range(200):
        turns += [
            Message(role="user", content=f"{i} " + "word " * 60),
            Message(role="assistant", content="yes"),
        ]
    turns.append(Message(role="user", content="the end"))
    chat: Sequence = bench.chat(turns)
    (warning,) = bench.backend.prepare(chat)
    assert warning.startswith("The prompt was shortened: ")
    assert len(chat.prompt_ids) <= bench.record.context_window - 32


def test_a_message_longer_than_the_context_window_is_refused(bench: Bench) -> None:
    with pytest.raises(WorkerError) as caught:
        bench.backend.prepare(bench.chat("word " * 20_000))
    assert caught.value.code == "prompt_too_long"


def test_an_answer_ends_with_the_context_window(record: ModelRecord) -> None:
    room = 128
    bench = Bench(record.model_copy(update={"context_window": room}))
    chat = bench.chat("x", max_tokens=32)
    bench.backend.prepare(chat)
    chat.prompt_ids = chat.prompt_ids[:1] * (room - 5)
    bench.backend.add(chat)
    bench.run()
    assert len(chat.generated) == 5
