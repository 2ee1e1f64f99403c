"""A model's own defaults for sampling: what is read of its file, and what is ignored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from wire.model_registry import NO_DEFAULTS, SamplingDefaults
from worker.models.folders import ModelFolders
from worker.models.generation_config import MOST_BYTES, sampling_defaults

QWEN3 = {
    "bos_token_id": 151643,
    "do_sample": True,
    "eos_token_id": [151645, 151643],
    "temperature": 0.6,
    "top_k": 20,
    "top_p": 0.95,
    "transformers_version": "4.51.0",
}


def read(folder: Path, config: Any) -> SamplingDefaults:
    text = config if isinstance(config, str) else json.dumps(config)
    (folder / "generation_config.json").write_text(text, encoding="utf-8")
    return sampling_defaults(folder)


def test_the_sampling_of_a_published_file_is_read(tmp_path: Path) -> None:
    assert read(tmp_path, QWEN3).given() == {"temperature": 0.6, "top_p": 0.95, "top_k": 20}
    every = {"temperature": 1, "top_p": 0.9, "top_k": 64.0, "min_p": 0, "repetition_penalty": 1.05}
    assert read(tmp_path, every).given() == every


@pytest.mark.parametrize("said", [{"do_sample": False}, {}])
def test_do_sample_is_not_asked(tmp_path: Path, said: dict[str, Any]) -> None:
    assert read(tmp_path, {"temperature": 0.7} | said).given() == {"temperature": 0.7}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", -1),
        ("temperature", 2.1),
        ("temperature", "0.7"),
        ("temperature", True),
        ("temperature", [0.7]),
        ("top_p", 1.5),
        ("top_k", 20.5),
        ("top_k", -2),
        ("top_k", 10**400),
        ("min_p", -0.1),
        ("repetition_penalty", 6),
        ("repetition_penalty", float("nan")),
        ("temperature", float("inf")),
    ],
)
def test_a_value_that_cannot_be_used_is_ignored_and_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, field: str, value: Any
) -> None:
    others = {name: 1 for name in ("temperature", "top_p", "min_p") if name != field}
    assert read(tmp_path, others | {field: value}).given() == others
    (line,) = caplog.records
    assert line.getMessage() == f"ignored in generation_config.json: {field}"
    assert vars(line)["folder"] == str(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "7", "[" * 100_000, "\ud800"])
def test_a_file_that_cannot_be_read_says_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "generation_config.json").write_bytes(text.encode(errors="surrogatepass"))
    assert sampling_defaults(tmp_path) == NO_DEFAULTS


def test_no_file_and_one_that_is_too_long_say_nothing(tmp_path: Path) -> None:
    assert sampling_defaults(tmp_path) == NO_DEFAULTS
    long = json.dumps({"temperature": 0.5, "note": "x" * MOST_BYTES})
    assert read(tmp_path, long) == NO_DEFAULTS


def test_null_and_top_k_below_zero_mean_what_they_mean_in_requests(tmp_path: Path) -> None:
    assert read(tmp_path, {"temperature": None, "top_k": -1}).given() == {"top_k": 0}


@pytest.mark.parametrize(("with_defaults", "expected"), [(True, {"top_k": 20}), (False, {})])
def test_records_tell_the_defaults_unless_they_are_ignored(
    tmp_path: Path, with_defaults: bool, expected: dict[str, float]
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "qwen3"}', encoding="utf-8")
    (folder / "model.safetensors").write_bytes(b"weights")
    read(folder, {"top_k": 20})
    folders = ModelFolders([tmp_path], with_defaults=with_defaults)
    folders.scan()
    scanned, registered = folders.find("model"), folders.register("mine", str(folder))
    again = folders.find("mine")
    for record in (scanned, registered, again):
        assert record is not None
        assert record.sampling_defaults.given() == expected


def test_another_file_is_another_revision_of_the_model(tmp_path: Path) -> None:
    """It holds the end-of-text ids as well: a chat that began with others can't go on."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "qwen3"}', encoding="utf-8")
    (folder / "model.safetensors").write_bytes(b"weights")
    revisions = set()
    for config in ({"eos_token_id": 1}, {"eos_token_id": 2}):
        read(folder, config)
        folders = ModelFolders([tmp_path])
        folders.scan()
        record = folders.find("model")
        assert record is not None
        revisions.add(record.revision)
    assert len(revisions) == 2
