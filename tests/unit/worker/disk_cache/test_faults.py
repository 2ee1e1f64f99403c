"""What befalls files: whatever it is, an entry is right or it is a miss."""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.worker.disk_cache.entries import MODEL, head_of, pieces_of, put
from worker.disk_cache.entry_file import BadEntry
from worker.disk_cache.folder import Folder, FolderRefused
from worker.disk_cache.store import Outdated, Store

TOKENS = list(range(300))
ROW = head_of(TOKENS).row
SEED = 20
KILLS, FLIPS, CUTS = 200, 300, 60


def store_at(path: Path, cap: int = 1 << 20, now: float = 1000.0) -> Store:
    return Store(Folder(path), cap, lifetime_s=3600, now=lambda: now)


def reopened(store: Store, now: float = 1000.0) -> Store:
    """The same folder after a restart."""
    store.folder.close()
    again = store_at(store.folder.path, now=now)
    again.scan()
    return again


def found(store: Store) -> list[bytes] | None:
    """The arrays of the entry with all of the tokens, None for a miss."""
    match = store.find(MODEL, ROW, len(TOKENS), 1)
    if match is None:
        return None
    try:
        head, arrays = store.read(match[0])
    except BadEntry:
        return None
    assert head.row == ROW, "another prompt's cache"
    return [array.tobytes() for array in arrays]


def file_of(store: Store) -> Path:
    [name] = store.folder.names()
    return store.folder.path / name


def test_an_entry_comes_back_after_a_restart_and_only_its_owner_can_read_it(
    tmp_path: Path,
) -> None:
    store = store_at(tmp_path / "prompts")
    pieces = put(store, head_of(TOKENS))
    assert file_of(store).stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "prompts").stat().st_mode & 0o777 == 0o700
    assert found(reopened(store)) == pieces


def _write_until_killed(path: Path, at: int) -> None:
    """In a child process: write an entry in small pieces, and be killed at the so-manieth system
    call of it, a write after half of its bytes."""
    calls = 0

    def counted(name: str) -> Callable[..., Any]:
        real = getattr(os, name)

        def call(*arguments: Any, **more: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == at:
                if name == "write":
                    real(arguments[0], arguments[1][: len(arguments[1]) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **more)

        return call

    store, head = store_at(path), head_of(TOKENS)
    for name in ("open", "write", "fsync", "rename", "close", "unlink"):
        setattr(os, name, counted(name))
    small = [p[at : at + 50] for p in pieces_of(head) for at in range(0, len(p), 50)]
    store.write(head, small, lambda: True)


def test_kill_9_at_any_point_of_a_write_leaves_the_whole_entry_or_none(tmp_path: Path) -> None:
    random_points, whole = random.Random(SEED), 0
    store = store_at(tmp_path / "prompts")
    put(store, other := head_of([7, *TOKENS]))
    store.folder.close()
    for _ in range(KILLS):
        point = random_points.randint(1, 120)
        if (child := os.fork()) == 0:
            try:
                _write_until_killed(tmp_path / "prompts", point)
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        store = store_at(tmp_path / "prompts")
        assert [name for name in os.listdir(store.folder.path) if name.endswith(".tmp")] == []
        store.scan()
        arrays = found(store)
        assert arrays in (None, pieces_of(head_of(TOKENS))), f"seed {SEED}, call {point}"
        assert store.covers(MODEL, other.row)
        if arrays is not None:
            whole += 1
            store.discard(store.find(MODEL, ROW, len(TOKENS), len(TOKENS))[0])  # type: ignore[index]
        store.folder.close()
    assert 0 < whole < KILLS / 2, "the points lie inside of the write"


def test_a_flipped_bit_is_a_miss_after_a_restart(tmp_path: Path) -> None:
    points = random.Random(SEED)
    store = store_at(tmp_path / "prompts")
    put(store, head_of(TOKENS))
    path, whole = file_of(store), file_of(store).read_bytes()
    for _ in range(FLIPS):
        path.write_bytes(damaged := _flipped(whole, points))
        store = reopened(store)
        assert found(store) is None, f"seed {SEED}, {len(damaged)} bytes"


def test_a_flipped_bit_is_a_miss_that_deletes_the_entry(tmp_path: Path) -> None:
    points = random.Random(SEED)
    store = store_at(tmp_path / "prompts")
    put(store, head_of(TOKENS))
    whole, name = file_of(store).read_bytes(), file_of(store).name
    for _ in range(FLIPS):
        store = _listed_as_whole(store, whole, _flipped(whole, points), name)
        assert found(store) is None
        assert store.folder.names() == []


def _flipped(whole: bytes, points: random.Random) -> bytes:
    damaged = bytearray(whole)
    damaged[points.randrange(len(whole))] ^= 1 << points.randrange(8)
    return bytes(damaged)


def _listed_as_whole(store: Store, whole: bytes, damaged: bytes, name: str) -> Store:
    """The folder as a process knows it that has listed the file before it was damaged."""
    path = store.folder.path / name
    path.write_bytes(whole)
    store.scan()
    path.write_bytes(damaged)
    return store


def test_a_file_that_is_cut_off_is_a_miss(tmp_path: Path) -> None:
    points = random.Random(SEED)
    store = store_at(tmp_path / "prompts")
    put(store, head_of(TOKENS))
    whole, name = file_of(store).read_bytes(), file_of(store).name
    for _ in range(CUTS):
        store = _listed_as_whole(store, whole, whole[: points.randrange(len(whole))], name)
        assert found(store) is None


def test_files_of_others_are_never_an_entry(tmp_path: Path) -> None:
    store = store_at(tmp_path / "prompts")
    folder = store.folder.path
    header = b'{"weights":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"1234")
    (folder / "empty.safetensors").write_bytes(b"")
    (folder / "long.safetensors").write_bytes(b"\xff" * 100)
    (folder / "text.safetensors").write_text("[" * 100_000)
    (folder / "link.safetensors").symlink_to("/etc/hostname")
    os.mkfifo(folder / "pipe.safetensors")
    (folder / "folder.safetensors").mkdir()
    (folder / "notes.txt").write_text("mine")
    store = reopened(store)
    assert len(store) == 0
    assert found(store) is None
    assert (folder / "notes.txt").read_text() == "mine"
    pieces = put(store, head_of(TOKENS))
    assert found(store) == pieces


def test_an_entry_under_another_ones_name_is_a_miss(tmp_path: Path) -> None:
    store = store_at(tmp_path / "prompts")
    put(store, head_of(TOKENS))
    name = file_of(store).name
    put(store, head_of([*TOKENS[:-1], 9]))
    [other] = [one for one in store.folder.names() if one != name]
    (store.folder.path / other).replace(store.folder.path / name)
    assert found(store) is None


@pytest.mark.parametrize("call", ["open", "write", "fsync", "rename"])
def test_a_full_disk_costs_the_entry_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    store = store_at(tmp_path / "prompts")
    put(store, kept := head_of([7, *TOKENS]))

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, call, full)
        with pytest.raises(OSError, match="No space"):
            put(store, head_of(TOKENS))
    assert len(store.folder.names()) == 1
    assert store.covers(MODEL, kept.row)
    assert found(store) is None
    pieces = put(store, head_of(TOKENS))
    assert found(store) == pieces


def test_nothing_is_written_where_little_space_would_be_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_at(tmp_path / "prompts")
    monkeypatch.setattr(Folder, "free_bytes", lambda _: 1 << 30)
    with pytest.raises(OSError, match="gigabyte"):
        put(store, head_of(TOKENS))
    assert store.folder.names() == []


def test_a_folder_that_vanishes_is_a_miss_and_is_not_made_again(tmp_path: Path) -> None:
    store = store_at(tmp_path / "prompts")
    put(store, head_of(TOKENS))
    shutil.rmtree(tmp_path / "prompts")
    assert found(store) is None
    with pytest.raises(FileNotFoundError):
        put(store, head_of([7, *TOKENS]))
    store.tidy()
    store.clear_once("now")
    assert not (tmp_path / "prompts").exists()


@pytest.mark.parametrize("jump_s", [-1e9, -7200, 7200, 1e9])
def test_a_clock_that_jumps_makes_entries_expire(tmp_path: Path, jump_s: float) -> None:
    store = store_at(tmp_path / "prompts")
    pieces = put(store, head_of(TOKENS))
    store = reopened(store, now=1000 + 1800)
    assert found(store) == pieces
    store = reopened(store, now=1000 + jump_s)
    assert found(store) is None
    assert store.folder.names() == []


def test_clearing_deletes_what_is_being_written_too(tmp_path: Path) -> None:
    store = store_at(tmp_path / "prompts")
    put(store, head_of([7, *TOKENS]))
    head = head_of(TOKENS)

    def pieces() -> Iterator[bytes]:
        first, *others = pieces_of(head)
        yield first
        store.clear_once("mark")
        yield from others

    with pytest.raises(Outdated):
        store.write(head, pieces(), lambda: True)
    assert store.folder.names() == []
    assert len(store) == 0
    put(store, head)
    store.clear_once("mark")  # was done before
    assert found(reopened(store)) is not None


def test_a_folder_belongs_to_one_worker(tmp_path: Path) -> None:
    store = store_at(tmp_path / "prompts")
    with pytest.raises(FolderRefused, match="another worker uses"):
        Folder(tmp_path / "prompts")
    store.folder.close()
    Folder(tmp_path / "prompts").close()


def test_a_folder_that_others_can_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "prompts").mkdir(mode=0o755)
    with pytest.raises(FolderRefused, match="other users"):
        Folder(tmp_path / "prompts")
    with pytest.raises(FolderRefused, match="can't be used"):
        Folder(tmp_path / "not mounted" / "prompts")
