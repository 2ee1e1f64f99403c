"""Key-value caches of finished chats, found again by their longest common token prefix.

mlx_lm has an LRUPromptCache of the same idea; its look-up walks the whole tree below the common
prefix, which is every entry once chats share a system prompt, so this index compares whole rows
instead. Knows no model: caches are opaque lists, handled by the operations it is given.

Sliding windows and recurrent states can't be cut to a shorter prefix. An entry with such layers
has checkpoints: copies of these layers, made while the prompt was read, by the number of tokens
that they hold. Layers that can be cut exist once an entry.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np

MOST_ENTRIES = 512
"""Bounds the look-up, which goes through every entry of the model: 0.2 ms at this many."""
LEAST_COMMON = 16
"""Tokens that a chat must have in common with another to begin behind them. Chats of one model
all begin with the same few marks of its template: reading these again costs less than putting
together rows that begin with a cache."""
LEAST_CHECKPOINTS = 2
"""An entry is not thinned below this many checkpoints: it goes as a whole then."""
Cache = list[Any]
Checkpoint = list[Any]
"""One item a layer: a copy of what can't be cut, None for layers that can be."""
WIDTH = 8
"""Bytes of a token id in a row: rows are compared as bytes, which is a hundred times faster than
token by token."""


class DraftKey(NamedTuple):
    """In place of a model: of a draft model that guesses for another. No observer is told of it."""

    draft_model: str
    guesses_for: str


class CacheOperations(Protocol):
    """What the index needs to know of a cache."""

    def is_cuttable(self, cache: Cache) -> bool:
        """Whether the cache can be cut to any shorter prefix."""

    def cut(self, cache: Cache, dropped: int, checkpoint: Checkpoint | None) -> Cache:
        """A copy without the last ``dropped`` tokens, which the caller may change. What can't be
        cut comes from ``checkpoint``."""

    def checkpoint(self, cache: Cache) -> Checkpoint:
        """A checkpoint at the end of a cache."""

    def nbytes(self, cache: Cache | Checkpoint) -> int:
        """Bytes of a cache or a checkpoint."""


class Reuse(NamedTuple):
    """A cache to begin with: how many tokens it holds, and the checkpoints inside."""

    cache: Cache | None
    length: int
    checkpoints: dict[int, Checkpoint]


@dataclass(slots=True, eq=False)
class Entry:
    """The cache of a conversation. ``stored``: it need not be written to the disk (any more);
    ``replaced``: it must not be written: another entry holds all of it, or it was deleted."""

    row: bytes
    length: int
    cache: Cache
    nbytes: int
    cuttable: bool
    checkpoints: dict[int, Checkpoint] = field(default_factory=dict)
    stored: bool = False
    replaced: bool = False

    def reach(self, common: int) -> int:
        """To how many tokens, of ``common`` at most, the cache can be cut."""
        if self.cuttable or common >= self.length:
            return min(common, self.length)
        return reach(self.checkpoints, common)


class Wait(Protocol):
    """For an entry that is being read from the disk: it has an end in any case."""

    @property
    def pending(self) -> bool: ...


class DiskCache(Protocol):
    """What keeps entries on the disk. But for ``opening`` on the engine's thread; waits for no disk
    there."""

    def opening(self, folder: str) -> None:
        """A model is being opened, on the thread that calls this."""

    def attach(self, model: Any, folder: str, revision: str, codec: Any) -> None:
        """A model has been loaded; ``codec`` makes files of its caches."""

    def detach(self, model: Any) -> None:
        """A model has been unloaded."""

    def find(self, model: Any, row: bytes, known: int, token_s: float) -> Wait | None:
        """Begin to read an entry that has a longer prefix of a row than the ``known`` tokens, if
        that is worth it: it comes into the cache. ``token_s``: how long the model takes to read a
        token, infinite if that isn't known."""

    def left(self, model: Any, entry: Entry) -> None:
        """An entry has been dropped, and no other holds all of it."""


class Observer(Protocol):
    """Told of the entries of models, on the engine's thread, which it must not hold up."""

    def added(self, model: Any, row: bytes) -> None: ...

    def dropped(self, model: Any, row: bytes) -> None: ...


class PromptCache:
    """Least recently used entries go first, beyond ``budget`` bytes; before that, entries lose
    checkpoints that lie close together.

    Of an entry that is no prefix as a whole at least ``least_common`` tokens must be in common.
    """

    def __init__(
        self, budget: int, operations: CacheOperations, least_common: int = LEAST_COMMON
    ) -> None:
        self._budget = budget
        self._least_common = least_common
        self._operations = operations
        self._entries: OrderedDict[tuple[Any, bytes], Entry] = OrderedDict()
        self.disk: DiskCache | None = None
        self.observer: Observer | None = None
        self.inserted = 0
        """How many entries have been taken in, ever."""
        self.nbytes = 0
        self.prompt_tokens = 0
        self.cached_tokens = 0

    def __len__(self) -> int:
        return len(self._entries)

    def fetch(self, model: Any, tokens: Sequence[int], *, counted: bool = True) -> Reuse:
        """A cache for the longest known prefix of ``tokens``.

        At least one token is always left to feed: without it there would be nothing to get logits
        from. ``counted``: as a prompt's.
        """
        self.prompt_tokens += len(tokens) if counted else 0
        best, longest = self._longest(model, encoded(tokens), len(tokens) - 1)
        if best is None:
            return Reuse(None, 0, {})
        entry = self._entries[best]
        self._entries.move_to_end(best)
        self.cached_tokens += longest if counted else 0
        dropped = entry.length - longest
        at = None if entry.cuttable or not dropped else entry.checkpoints[longest]
        inside = {n: kept for n, kept in entry.checkpoints.items() if n <= longest}
        return Reuse(self._operations.cut(entry.cache, dropped, at), longest, inside)

    def known(self, model: Any, row: bytes) -> int:
        """How many tokens ``fetch`` would find of an encoded row. Changes nothing."""
        return self._longest(model, row, len(row) // WIDTH - 1)[1]

    def _longest(self, model: Any, row: bytes, most: int) -> tuple[tuple[Any, bytes] | None, int]:
        """The entry with the longest prefix of a row, of so many tokens at most, and its length."""
        best: tuple[Any, bytes] | None = None
        longest = 0
        for name, entry in self._entries.items():
            if longest >= most or name[0] != model:
                continue
            least = max(longest + 1, min(self._least_common, entry.length, most))
            common = common_tokens(row, entry.row, least)
            if common and (reached := entry.reach(min(common, most))) >= least:
                best, longest = name, reached
        return best, longest

    def insert(
        self,
        model: Any,
        tokens: Sequence[int],
        cache: Cache,
        checkpoints: Mapping[int, Checkpoint] | None = None,
        *,
        stored: bool = False,
    ) -> None:
        """Keep a finished chat's cache, which holds exactly ``tokens``. ``stored``: it came from
        the disk.

        Shorter forms of the same chat go; their checkpoints stay.
        """
        nbytes = self._operations.nbytes(cache)
        if nbytes > self._budget or not tokens:
            return
        row = encoded(tokens)
        entry = Entry(row, len(tokens), cache, nbytes, self._operations.is_cuttable(cache))
        entry.stored = stored
        if not entry.cuttable:
            entry.checkpoints = dict(checkpoints or {})
        for name in [n for n in self._entries if n[0] == model and row.startswith(n[1])]:
            other = self._drop(name)
            other.replaced = True
            if not entry.cuttable and other.length < entry.length:
                end = {other.length: self._operations.checkpoint(other.cache)}
                entry.checkpoints = {**other.checkpoints, **end, **entry.checkpoints}
        entry.nbytes += sum(map(self._operations.nbytes, entry.checkpoints.values()))
        self._entries[(model, row)] = entry
        self.nbytes += entry.nbytes
        self.inserted += 1
        if self.observer is not None and not isinstance(model, DraftKey):
            self.observer.added(model, row)
        self._shrink()

    def unstored(self) -> Iterator[tuple[Any, Entry]]:
        """The entries that aren't on the disk, with their models: most recently used first."""
        for (model, _), entry in reversed(self._entries.items()):
            if not entry.stored:
                yield model, entry

    def forget(self, model: Any) -> None:
        """Drop every entry of a model that has been unloaded."""
        for name in [name for name in self._entries if name[0] == model]:
            self._leave(name)

    def clear(self) -> None:
        """Drop every entry for good: they are not written to the disk either."""
        for name in list(self._entries):
            self._drop(name).replaced = True

    def _shrink(self) -> None:
        while self.nbytes > self._budget:
            fullest = max(self._entries.values(), key=lambda entry: len(entry.checkpoints))
            if len(fullest.checkpoints) <= LEAST_CHECKPOINTS:
                break
            self._thin(fullest)
        while self.nbytes > self._budget or len(self._entries) > MOST_ENTRIES:
            self._leave(next(iter(self._entries)))

    def _thin(self, entry: Entry) -> None:
        """Drop the checkpoint, but the first, that costs the fewest tokens to read again."""
        places = sorted(entry.checkpoints)
        gaps = {b: b - a for a, b in itertools.pairwise(places)}
        dropped = entry.checkpoints.pop(min(gaps, key=lambda place: gaps[place]))
        freed = self._operations.nbytes(dropped)
        entry.nbytes -= freed
        self.nbytes -= freed

    def _leave(self, name: tuple[Any, bytes]) -> None:
        """Drop an entry that the disk may take."""
        entry = self._drop(name)
        if self.disk is not None:
            self.disk.left(name[0], entry)

    def _drop(self, name: tuple[Any, bytes]) -> Entry:
        entry = self._entries.pop(name)
        self.nbytes -= entry.nbytes
        if self.observer is not None and not isinstance(name[0], DraftKey):
            self.observer.dropped(*name)
        return entry


def reach(places: Iterable[int], common: int) -> int:
    """The longest of some checkpoints, in tokens, with ``common`` at most; 0 without one."""
    return max((place for place in places if place <= common), default=0)


def common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """Length of the common prefix of two rows of token ids."""
    return common_tokens(encoded(a), encoded(b))


def encoded(tokens: Sequence[int]) -> bytes:
    """A row of token ids as it is compared with others."""
    return np.asarray(tokens, dtype=np.int64).tobytes()


def common_tokens(a: bytes, b: bytes, least: int = 1) -> int:
    """Length of the common prefix of two encoded rows, in tokens; may be 0 if less than ``least``.

    Rows of one model begin with the same few marks of its template, and most differ soon after. A
    look at two places is fifty times faster than the whole comparison.
    """
    end = least * WIDTH
    head = min(end, LEAST_COMMON * WIDTH)
    if a[end - WIDTH : end] != b[end - WIDTH : end] or a[:head] != b[:head]:
        return 0
    length = min(len(a), len(b)) // WIDTH
    one, other = np.frombuffer(a, np.int64, length), np.frombuffer(b, np.int64, length)
    different = np.flatnonzero(one != other)
    return int(different[0]) if len(different) else length
