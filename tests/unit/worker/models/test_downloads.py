"""Downloads: complete or absent, never outside their folder, and deleted only if they were
downloaded here."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from worker.errors import WorkerError
from worker.models.downloads import Downloads
from worker.models.folders import ModelFolders

NAME = "owner/tiny-4bit"


class LocalHub:
    """Writes a model once it is allowed to; counts how often."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.fault: Exception | None = None
        self.bytes = 10

    def size(self, repository: str) -> int:
        if repository != NAME:
            raise WorkerError("model_not_found", "no such model")
        return self.bytes

    def fetch(self, repository: str, folder: Path) -> None:
        assert repository == NAME
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text('{"model_type": "qwen3"}')
        assert self.go.wait(60)
        if self.fault:
            raise self.fault
        (folder / "model.safetensors").write_bytes(b"weights")


@pytest.fixture
def hub() -> LocalHub:
    return LocalHub()


@pytest.fixture
def news() -> threading.Semaphore:
    return threading.Semaphore(0)


@pytest.fixture
def downloads(tmp_path: Path, hub: LocalHub, news: threading.Semaphore) -> Downloads:
    return Downloads(tmp_path / "models", lambda: news.release(), hub)


def test_a_model_is_there_once_it_is_whole(
    downloads: Downloads, hub: LocalHub, news: threading.Semaphore, tmp_path: Path
) -> None:
    catalogue = ModelFolders([], downloaded=tmp_path / "models")
    record = downloads.start(NAME)
    assert (record.downloading, record.downloaded, record.repository) == (True, False, NAME)
    catalogue.scan()
    assert catalogue.find(NAME) is None
    with pytest.raises(WorkerError) as caught:
        downloads.start(NAME)
    assert caught.value.code == "conflict"
    hub.go.set()
    assert news.acquire(timeout=60)
    while downloads.records():
        assert news.acquire(timeout=60)
    catalogue.scan()
    found = catalogue.find(NAME)
    assert found is not None
    assert found.deletable
    downloads.delete(found)
    catalogue.scan()
    assert catalogue.find(NAME) is None
    assert list((tmp_path / "models").iterdir()) == []


def test_a_failed_download_can_be_tried_again(
    downloads: Downloads, hub: LocalHub, news: threading.Semaphore
) -> None:
    hub.fault = OSError("connection lost")
    hub.go.set()
    downloads.start(NAME)
    while any(record.downloading for record in downloads.records()):
        assert news.acquire(timeout=60)
    (failed,) = downloads.records()
    assert not failed.downloaded
    hub.fault = None
    downloads.start(NAME)
    while downloads.records():
        assert news.acquire(timeout=60)


@pytest.mark.parametrize(
    "name", ["", "plain", "../up", "a/../b", "/etc/passwd", "a/b/c", "owner/na me", "-x/y"]
)
def test_a_name_that_is_none_is_not_found(downloads: Downloads, name: str) -> None:
    with pytest.raises(WorkerError) as caught:
        downloads.start(name)
    assert caught.value.code == "model_not_found"


def test_a_model_larger_than_the_disk_is_refused(downloads: Downloads, hub: LocalHub) -> None:
    hub.bytes = 1 << 60
    with pytest.raises(WorkerError) as caught:
        downloads.start(NAME)
    assert caught.value.code == "insufficient_disk"


def test_only_what_was_downloaded_here_can_be_deleted(downloads: Downloads, tmp_path: Path) -> None:
    catalogue = ModelFolders([tmp_path])
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    catalogue.scan()
    record = catalogue.find("mine")
    assert record is not None
    for tried in (record, record.model_copy(update={"deletable": True})):
        with pytest.raises(WorkerError) as caught:
            downloads.delete(tried)
        assert caught.value.code == "forbidden"
    assert folder.is_dir()
