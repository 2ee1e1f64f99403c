"""Model folders that bring code and pickles, of text and of vision models: none of it is ever
run."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest

from worker.backends.batching import kv_cache
from worker.backends.lm import open_model as open_text
from worker.backends.vlm import open_model as open_vision
from worker.errors import WorkerError
from worker.models.folders import DEMO_MODELS, describe
from worker.prompt_cache import PromptCache

KINDS = ("chat", "vision")


class Trap:
    """A pickle that makes a file when it is read."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return Path.touch, (self.marker,)


@pytest.fixture(params=KINDS)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of a shipped model with everything beside it that a library might run."""
    made = Path(shutil.copytree(DEMO_MODELS / request.param, tmp_path / request.param))
    code = f"import pathlib\npathlib.Path({str(tmp_path / 'was-run')!r}).touch()\n"
    for name in (
        "evil",
        "modeling",
        "configuration",
        "tokenization",
        "processing",
        "model",
        "sitecustomize",
        "__init__",
    ):
        (made / f"{name}.py").write_text(code)
    for name in (
        "pytorch_model.bin",
        "model.pt",
        "weights.npz",
        "tokenizer.pkl",
        "training_args.bin",
    ):
        (made / name).write_bytes(pickle.dumps(Trap(tmp_path / "was-run")))
    return made


def changed(folder: Path, file: str, **fields: Any) -> None:
    path = folder / file
    config = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(config | fields))


def load(folder: Path) -> None:
    record = describe(folder, name="strange")
    assert record is not None
    cache = PromptCache(1 << 20, kv_cache)
    if record.is_vision:
        open_vision(record, slots=2, prefill_step=32, cache=cache)
    else:
        open_text(record, slots=2, prefill_step=32, cache=cache)


def test_a_folder_with_code_and_pickles_beside_the_weights_is_loaded_without_them(
    folder: Path, tmp_path: Path
) -> None:
    names = (
        "AutoConfig",
        "AutoModel",
        "AutoModelForCausalLM",
        "AutoProcessor",
        "AutoImageProcessor",
    )
    hooks = {"auto_map": dict.fromkeys(names, "evil.X") | {"AutoTokenizer": ["evil.X", "evil.X"]}}
    for file in ("config.json", "tokenizer_config.json"):
        changed(folder, file, **hooks)
    load(folder)
    assert not (tmp_path / "was-run").exists()


@pytest.mark.parametrize("file", ["evil.py", "../evil.py", "/tmp/evil.py"])
def test_a_folder_that_asks_for_its_code_does_not_load(
    folder: Path, tmp_path: Path, file: str
) -> None:
    shutil.copy(folder / "evil.py", tmp_path / "evil.py")
    changed(folder, "config.json", model_file=file)
    with pytest.raises(WorkerError, match="never run") as caught:
        load(folder)
    assert caught.value.code == "load_failed"
    assert not (tmp_path / "was-run").exists()


def test_weights_that_are_pickles_are_not_read(folder: Path, tmp_path: Path) -> None:
    weights = folder / "model.safetensors"
    for content in (pickle.dumps(Trap(tmp_path / "was-run")), None):
        weights.unlink()
        if content is not None:
            weights.write_bytes(content)
        with pytest.raises(WorkerError) as caught:
            load(folder)
        assert caught.value.code == "load_failed"
    assert not (tmp_path / "was-run").exists()


@pytest.mark.parametrize(
    "kind", ["..evil", "os", "../evil", "/evil", "evil.evil", "llama/../../evil"]
)
def test_an_architecture_by_a_strange_name_does_not_load(
    folder: Path, tmp_path: Path, kind: str
) -> None:
    changed(folder, "config.json", model_type=kind)
    with pytest.raises(WorkerError) as caught:
        load(folder)
    assert caught.value.code == "load_failed"
    assert not (tmp_path / "was-run").exists()
