"""How entries are found, which go first, and what is worth writing and loading."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.unit.worker.disk_cache.entries import MODEL, head_of, put
from worker.disk_cache import policy
from worker.disk_cache.fingerprint import WeightHashes, fingerprint
from worker.disk_cache.folder import Folder
from worker.disk_cache.index import Index, StoredEntry
from worker.disk_cache.policy import LoadChoice, Offer, WriteBudget
from worker.disk_cache.store import Store
from worker.prompt_cache import encoded

LONG = list(range(1000))
UNKNOWN = float("inf")


def entry(tokens: list[int], name: str = "", **more: object) -> StoredEntry:
    head = head_of(tokens, **more)  # type: ignore[arg-type]
    return StoredEntry.of(name or f"{tokens[0]}-{len(tokens)}", head, nbytes=len(tokens))


def test_the_longest_prefix_is_found_of_the_same_fingerprint_alone() -> None:
    index = Index()
    for one in (entry(LONG[:300]), entry([*LONG[:500], 7]), entry([9, *LONG])):
        index.add(one)
    found = index.find(MODEL, encoded(LONG), 999, 1)
    assert found is not None
    assert (found[0].tokens, found[1]) == (501, 500)
    assert index.find("other", encoded(LONG), 999, 1) is None
    assert index.find(MODEL, encoded(LONG), 999, 501) is None
    assert index.find(MODEL, encoded(LONG), 400, 1) is not None


def test_what_cannot_be_cut_is_found_at_its_checkpoints_and_its_end() -> None:
    index = Index()
    index.add(entry(LONG[:600], places=(200, 400)))
    reached = {n: index.find(MODEL, encoded([*LONG[:n], 5, 5]), n + 1, 1) for n in (199, 250, 600)}
    assert [found and found[1] for found in reached.values()] == [None, 200, 600]


def test_a_longer_entry_takes_the_place_of_those_that_can_be_had_from_it() -> None:
    index = Index()
    for one in (entry(LONG[:300], places=()), entry(LONG[:400], places=()), entry([9])):
        index.add(one)
    replaced = index.add(entry(LONG[:500], places=(300,)))
    assert [one.tokens for one in replaced] == [300]
    assert index.covers(MODEL, encoded(LONG[:300]))
    assert not index.covers(MODEL, encoded(LONG[:450]))
    assert index.nbytes == 1 + 400 + 500


def test_the_least_recently_used_go_first(tmp_path: Path) -> None:
    store = Store(Folder(tmp_path / "prompts"), cap=4 * 7000, lifetime_s=3600, now=lambda: 1000)
    chats = [head_of([n, *LONG[:300]]) for n in range(5)]
    for head in chats[:3]:
        put(store, head)
    found = store.find(MODEL, chats[0].row, 300, 300)
    assert found is not None
    store.read(found[0])
    for head in chats[3:]:
        put(store, head)
    kept = [n for n, head in enumerate(chats) if store.covers(MODEL, head.row)]
    assert 0 in kept
    assert 1 not in kept
    assert kept[-2:] == [3, 4]
    assert store.nbytes <= store.cap


def test_the_order_of_use_outlives_a_restart(tmp_path: Path) -> None:
    store = Store(Folder(tmp_path / "prompts"), cap=1 << 20, lifetime_s=3600, now=lambda: 1000)
    chats = [head_of([n, *LONG[:300]]) for n in range(3)]
    for used, head in zip((3000, 1000, 2000), chats, strict=True):
        before = set(store.folder.names())
        put(store, head)
        [name] = set(store.folder.names()) - before
        os.utime(store.folder.path / name, (used, used))
    store.folder.close()
    again = Store(Folder(tmp_path / "prompts"), store.nbytes - 1, 3600, now=lambda: 1000)
    again.scan()
    assert [again.covers(MODEL, head.row) for head in chats] == [True, False, True]


def test_in_an_hour_no_more_is_written_than_the_folder_may_hold() -> None:
    now = 0.0
    budget = WriteBudget(100, clock=lambda: now)
    assert budget.allows(100)
    budget.spend(60)
    now = 1800.0
    assert budget.allows(40)
    assert not budget.allows(41)
    budget.spend(40)
    now = 3601.0
    assert budget.allows(60)
    assert not budget.allows(61)


@pytest.mark.parametrize(
    ("offer", "worth_it"),
    [
        (Offer(policy.LEAST_TOKENS - 1, 300, 1, UNKNOWN), False),
        (Offer(300, 300, 1 << 30, UNKNOWN), True),
        (Offer(300, 20_000, 1 << 30, UNKNOWN), False),
        (Offer(1000, 1000, 100_000_000, token_s=0.01), True),
        (Offer(1000, 1000, 100_000_000, token_s=0.0001), False),
    ],
    ids=["few tokens", "a restart", "little of it", "a slow model", "a fast model"],
)
def test_an_entry_is_loaded_where_that_is_clearly_sooner(offer: Offer, worth_it: bool) -> None:
    assert LoadChoice().worthwhile(offer) == worth_it


def test_a_disk_that_turns_out_slow_is_asked_no_more() -> None:
    choice, offer = LoadChoice(), Offer(1000, 1000, 100_000_000, token_s=0.002)
    assert choice.worthwhile(offer)
    assert choice.patience_s(offer) == pytest.approx(0.5)
    for _ in range(4):
        choice.measured(1_000_000, seconds=1.0)
    assert not choice.worthwhile(offer)


def test_a_fingerprint_is_of_the_weights_themselves(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "prompts")
    model = tmp_path / "model"
    model.mkdir()
    (model / "model.safetensors").write_bytes(b"weights")
    hashes = WeightHashes(folder)
    assert hashes.known(model) is None
    first = hashes.work_out(model, lambda: True)
    assert first is not None
    assert WeightHashes(folder).known(model) == first
    (model / "model.safetensors").write_bytes(b"others!")
    assert hashes.known(model) is None
    other = hashes.work_out(model, lambda: True)
    assert other not in (None, first)
    assert hashes.work_out(model, lambda: False) is None
    (folder.path / "weights.json").write_text("[]")
    assert WeightHashes(folder).known(model) is None
    prints = {
        fingerprint(revision=revision, weights=weights, made_by=made_by)
        for revision in ("r", "s")
        for weights in (first, str(other))
        for made_by in ({"mlx": "1"}, {"mlx": "2"})
    }
    assert len(prints) == 8
