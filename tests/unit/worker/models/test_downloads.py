"""Downloads: complete or absent, never outside their folder, cancelled and resumed, and deleted only
if they were downloaded here."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from wire.model_registry import ModelRecord
from worker.errors import WorkerError
from worker.models.download_progress import Progress
from worker.models.downloads import Downloads
from worker.models.folders import ModelFolders
from worker.models.hub import repository_of
from worker.models.origins import Cancelled, Offer

NAME = "owner/tiny-4bit"


class LocalHub:
    """Writes a model once it is allowed to, or ends when it is cancelled."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.fault: Exception | None = None
        self.bytes = 100
        self.begun = threading.Event()

    def find(self, wanted: str) -> Offer | None:
        if wanted == "packaged":
            return Offer("packaged", "packaged", self.bytes, self.bytes, self.bytes)
        if "/" not in wanted:
            return None
        name = repository_of(wanted, "https://hub.test")
        if name != NAME:
            raise WorkerError("model_not_found", "no such model")
        return Offer("tiny-4bit", "owner--tiny-4bit", self.bytes, self.bytes, self.bytes, NAME)

    def fetch(self, _: Offer, folder: Path, cancelled: threading.Event) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text('{"model_type": "qwen3"}')
        self.begun.set()
        while not self.go.wait(0.01):
            if cancelled.is_set():
                raise Cancelled
        if self.fault:
            raise self.fault
        (folder / "model.safetensors").write_bytes(b"weights")


class News:
    """What the downloads tell of: waits until something holds."""

    def __init__(self) -> None:
        self._changed = threading.Condition()

    def __call__(self, _: bool) -> None:
        with self._changed:
            self._changed.notify_all()

    def until(self, downloads: Downloads, *, downloading: bool = False, any_: bool = True) -> None:
        """Until none is under way and, unless ``any_``, none is left."""

        def settled() -> bool:
            rows = downloads.records()
            return all(row.downloading == downloading for row in rows) and (any_ or not rows)

        with self._changed:
            assert self._changed.wait_for(settled, 60)


@pytest.fixture
def hub() -> LocalHub:
    return LocalHub()


@pytest.fixture
def news() -> News:
    return News()


@pytest.fixture
def downloads(tmp_path: Path, hub: LocalHub, news: News) -> Downloads:
    return Downloads(tmp_path / "models", news, [hub])


def found(folder: Path, name: str) -> ModelRecord | None:
    catalogue = ModelFolders([], downloaded=folder / "models")
    catalogue.scan()
    return catalogue.find(name)


@pytest.mark.parametrize(("wanted", "repository"), [(NAME, NAME), ("packaged", None)])
def test_a_model_is_there_once_it_is_whole_under_the_id_it_began_with(
    downloads: Downloads,
    hub: LocalHub,
    news: News,
    tmp_path: Path,
    wanted: str,
    repository: str | None,
) -> None:
    record = downloads.start(wanted)
    assert (record.downloading, record.downloaded, record.repository) == (True, False, repository)
    assert found(tmp_path, wanted) is None
    with pytest.raises(WorkerError, match="being downloaded already") as caught:
        downloads.start(wanted)
    assert caught.value.code == "conflict"
    hub.go.set()
    news.until(downloads, any_=False)
    there = found(tmp_path, wanted)
    assert there is not None
    assert (there.id, there.name, there.deletable) == (record.id, record.name, True)
    with pytest.raises(WorkerError, match="here already"):
        downloads.start(wanted)
    downloads.delete(there)
    assert found(tmp_path, wanted) is None
    assert list((tmp_path / "models").iterdir()) == []


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (OSError("secret path"), "The download failed (OSError)."),
        (WorkerError("hub_unreachable", "There is no connection."), "There is no connection."),
    ],
)
def test_a_failed_download_says_why_and_can_be_tried_again(
    downloads: Downloads, hub: LocalHub, news: News, fault: Exception, said: str
) -> None:
    hub.fault = fault
    hub.go.set()
    downloads.start(NAME)
    news.until(downloads)
    (failed,) = downloads.records()
    assert (failed.downloaded, failed.download_error) == (False, said)
    hub.fault = None
    assert downloads.start(NAME).download_error is None
    news.until(downloads, any_=False)


def test_a_cancelled_download_keeps_what_it_has_also_for_the_next_worker(
    downloads: Downloads, hub: LocalHub, tmp_path: Path
) -> None:
    record = downloads.start(NAME)
    with pytest.raises(WorkerError, match="cancel it first"):
        downloads.delete(record)
    assert hub.begun.wait(60)
    downloads.cancel(record)
    (left,) = downloads.records()
    assert (left.downloading, left.download_speed) == (False, None)
    assert left.download_error == "The download was cancelled."
    with pytest.raises(WorkerError, match="not being downloaded") as caught:
        downloads.cancel(record)
    assert caught.value.code == "conflict"
    assert found(tmp_path, NAME) is None
    news = News()
    later = Downloads(tmp_path / "models", news, [hub])
    (kept,) = later.records()
    assert (kept.id, kept.repository, kept.size) == (record.id, NAME, 23)
    assert kept.download_error == "The download was interrupted."
    hub.go.set()
    later.start(NAME)
    news.until(later, any_=False)
    assert found(tmp_path, NAME) is not None


def test_what_is_left_of_a_download_can_be_deleted(
    downloads: Downloads, hub: LocalHub, tmp_path: Path
) -> None:
    record = downloads.start(NAME)
    assert hub.begun.wait(60)
    downloads.cancel(record)
    downloads.delete(downloads.records()[0])
    assert downloads.records() == []
    assert list((tmp_path / "models").iterdir()) == []


def test_progress_has_a_speed_and_a_time_left_and_never_goes_back() -> None:
    now = 100.0
    progress = Progress(1000, 100, lambda: now)
    before = ModelRecord(
        id="a",
        name="a",
        path="",
        size=1000,
        architecture="",
        context_window=0,
        is_vision=False,
        revision="",
    )
    told = progress.told(before, 100)
    assert (told.download_progress, told.download_speed, told.download_eta) == (0.1, None, None)
    now += 2
    told = progress.told(before, 300)
    assert (told.download_progress, told.download_speed, told.download_eta) == (0.3, 100.0, 7.0)
    assert progress.told(before, 200).download_progress == 0.3
    now += 20
    progress.told(before, 300)
    now += 1
    told = progress.told(before, 400)
    # Only the last seconds count: 100 bytes in the last one, none in the twenty before it.
    assert told.download_speed == pytest.approx(100.0)
    now += 1
    assert progress.told(before, 5000).download_progress == 0.99


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
