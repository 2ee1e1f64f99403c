"""The hub's repositories through its own client, against a hub on this machine."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.worker.models.hub_server import SHA, Repositories, hub_server
from worker.errors import WorkerError
from worker.models.hub import HuggingFaceHub, repository_of
from worker.models.origins import Cancelled, Offer

NAME = "owner/tiny-4bit"
FILES = {
    "config.json": b"{}",
    "model.safetensors": b"weights!",
    "model.py": b"print()",
    "README.md": b"a model",
}


@pytest.fixture
def known() -> Repositories:
    return Repositories({NAME: dict(FILES)})


@pytest.fixture
def hub(known: Repositories, monkeypatch: pytest.MonkeyPatch) -> Iterator[HuggingFaceHub]:
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with hub_server(known) as known.address:
        yield HuggingFaceHub(known.address)


def offered(hub: HuggingFaceHub, wanted: str = NAME) -> Offer:
    offer = hub.find(wanted)
    assert offer is not None
    return offer


def refusal(hub: HuggingFaceHub, wanted: str = NAME) -> WorkerError:
    with pytest.raises(WorkerError) as caught:
        hub.find(wanted)
    return caught.value


def test_a_repository_is_found_by_its_name_and_by_its_address(
    hub: HuggingFaceHub, known: Repositories
) -> None:
    expected = Offer("tiny-4bit", "owner--tiny-4bit", 10, 10, 10, NAME, SHA)
    for wanted in (
        NAME,
        f"{known.address}/{NAME}",
        f"{known.address}/{NAME}/tree/main",
        f" {known.address}/{NAME}/blob/main/config.json?download=true ",
    ):
        assert hub.find(wanted) == expected
    assert hub.find("smollm2") is None


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/owner/tiny/tree/v2", "unsupported"),
        ("/datasets/owner/tiny", "model_not_found"),
        ("/owner", "model_not_found"),
        ("/../up/b", "model_not_found"),
    ],
)
def test_other_addresses_are_refused(path: str, code: str) -> None:
    with pytest.raises(WorkerError) as caught:
        repository_of(f"https://hub.test{path}", "https://hub.test")
    assert caught.value.code == code
    with pytest.raises(WorkerError, match="not an address of the model hub"):
        repository_of("https://elsewhere.test/owner/tiny", "https://hub.test")


def test_each_reason_why_a_model_cannot_be_had_has_its_code(
    hub: HuggingFaceHub, known: Repositories
) -> None:
    known.files["gguf/only"] = {"model.gguf": b"1", "config.json": b"{}"}
    known.files["deep/weights"] = {"config.json": b"{}", "onnx/model.safetensors": b"1"}
    known.files["gated/one"] = dict(FILES)
    known.gated = {"gated/one"}
    known.broken = {"broken/one"}
    found = {
        name: refusal(hub, name)
        for name in ("no/such", "gguf/only", "deep/weights", "gated/one", "broken/one")
    }
    assert {name: error.code for name, error in found.items()} == {
        "no/such": "model_not_found",
        "gguf/only": "unsupported_model",
        "deep/weights": "unsupported_model",
        "gated/one": "access_required",
        "broken/one": "hub_unreachable",
    }
    assert "HF_TOKEN" in found["gated/one"].message
    assert "no safetensors weights" in found["gguf/only"].message
    assert "llama.cpp" in found["gguf/only"].message
    assert "500" in found["broken/one"].message


def test_an_adapter_is_known_by_its_config_and_its_own_files_are_fetched(
    hub: HuggingFaceHub, known: Repositories, tmp_path: Path
) -> None:
    weights = "adapter_model.safetensors"
    own = {"adapter_config.json": b"{}", weights: b"sums"}
    others = {"tokenizer.json": b"{}", f"checkpoint-5/{weights}": b"earlier", "config.json": b"{}"}
    known.files["ann/tuned"] = {"adapter_config.json": b"{}", "adapters.safetensors": b"1"}
    assert offered(hub, "ann/tuned").is_adapter
    known.files["ann/pirate"] = own | others
    offer = offered(hub, "ann/pirate")
    assert offer == Offer("pirate", "ann--pirate", 6, 6, 6, "ann/pirate", SHA, is_adapter=True)
    hub.fetch(offer, tmp_path / "adapter", threading.Event())
    kept = {file.name for file in (tmp_path / "adapter").iterdir() if file.is_file()}
    assert kept == own.keys()
    known.files["ann/merged"] = own | {"config.json": b"{}", "model.safetensors": b"weights"}
    assert not offered(hub, "ann/merged").is_adapter
    known.files["ann/pickled"] = {"adapter_config.json": b"{}", "adapter_model.bin": b"code"}
    assert "has no safetensors weights" in refusal(hub, "ann/pickled").message


def test_without_a_connection_that_is_what_it_says() -> None:
    refused = refusal(HuggingFaceHub("http://127.0.0.1:9"))
    assert refused.code == "hub_unreachable"
    assert "no connection" in refused.message


def test_a_child_fetches_the_files_of_a_model_and_no_code(
    hub: HuggingFaceHub, tmp_path: Path
) -> None:
    hub.fetch(offered(hub), tmp_path / "model", threading.Event())
    kept = {
        file.name: file.read_bytes() for file in (tmp_path / "model").iterdir() if file.is_file()
    }
    assert kept == {name: FILES[name] for name in ("config.json", "model.safetensors")}


def test_a_cancelled_download_ends_and_its_whole_files_are_not_fetched_again(
    hub: HuggingFaceHub, known: Repositories, tmp_path: Path
) -> None:
    known.held = {"model.safetensors"}
    offer, cancelled = offered(hub), threading.Event()
    folder = tmp_path / "model"
    # The hub's client writes it behind the file; without it the file counts as not fetched.
    whole = folder / ".cache/huggingface/download/config.json.metadata"

    def cancel() -> None:
        while not (whole.exists() and whole.read_text()):
            cancelled.wait(0.01)
        cancelled.set()

    canceller = threading.Thread(target=cancel)
    canceller.start()
    with pytest.raises(Cancelled):
        hub.fetch(offer, folder, cancelled)
    canceller.join()
    assert not (folder / "model.safetensors").exists()
    known.held = set()
    known.sent.clear()
    hub.fetch(offer, folder, threading.Event())
    assert (folder / "model.safetensors").read_bytes() == b"weights!"
    assert known.sent == ["model.safetensors"]
    assert not list(folder.rglob("*.incomplete"))
