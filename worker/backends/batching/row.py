"""One sequence in the batch loop, and what the loop needs of a model."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from collections.abc import Sequence as Items
from typing import Any, Protocol

import mlx.core as mx

from worker.backends.adapters.bank import AdapterBank
from worker.backends.batching.cache_maker import CacheMaker
from worker.backends.drafting.row_drafts import RowDrafts
from worker.backends.sampling.logits_processors import logits_processor_of
from worker.backends.sampling.sampler import RowSampler
from worker.backends.sampling.special_tokens import SpecialTokens, ends_of
from worker.logprobs import Measured
from worker.prompt_cache import Checkpoint, Wait, encoded
from worker.sequence import Sequence

LEAST_IN_GROUP = 4
"""Fewer tokens are read as quickly as a cache is copied."""
Feed = Callable[[int, int, list[Any]], mx.array]
"""Reads the prompt's tokens from a start up to a stop position into a cache of one row; returns
their logits, [1, tokens, vocabulary], which are only computed if they are used."""


class Row:
    """A sequence's tokens, its key in the prompt cache, and how far it has been read.

    ``key_ids`` are the token ids, but with image hashes in place of image tokens, and a hash of
    ``adapter``, the id of the adapter that it runs with, in the first one's place. ``left`` is how
    many tokens the answer may still have. ``embed`` runs before the first chunk, in steps of its
    own, until it returns True; it sets ``feed``, and may set ``in_one_piece`` for a prompt that
    can't be cut, and ``decode_inputs``: arrays [1, …] that the model wants in each decode step.
    With ``shows_images`` embedding takes long; a row that isn't ``reusable`` shares its cache with
    no other prompt. ``logprobs`` and ``prompt_logprobs`` say with how many of the likeliest tokens
    the log-probabilities of the answer's tokens and of the prompt's are measured, None that they
    are not. A row with the latter reads its prompt from the start and by itself.
    """

    def __init__(
        self,
        sequence: Sequence,
        tokens: list[int],
        left: int,
        special: SpecialTokens,
        key_ids: list[int] | None = None,
        adapter: str | None = None,
    ) -> None:
        self.sequence = sequence
        self.adapter = adapter
        self.tokens = tokens
        self.key_ids = list(tokens) if key_ids is None else key_ids
        self.prompt_length = len(tokens)
        self.prompt_key = encoded(self.key_ids)
        """The key of the prompt, to be compared with other rows' many times."""
        self.left = left
        self.read = 0
        self.cache: list[Any] | None = None
        """The row's own cache, from its look-up in the prompt cache until it joins others."""
        self.places: set[int] = set()
        """Positions in the prompt at which a checkpoint is made."""
        self.checkpoints: dict[int, Checkpoint] = {}
        self.disk_wait: Wait | None = None
        """For the prompt's beginning, which is being read from the disk."""
        self.asked_disk = False
        self.awaits: tuple[Row, int] | None = None
        """A row that is being read and shares the beginning of the prompt, of so many tokens."""
        self.embed: Callable[[], bool] | None = None
        self.feed: Feed | None = None
        self.shows_images = False
        self.in_one_piece = False
        self.reusable = True
        self.decode_inputs: dict[str, mx.array] = {}
        self.drafts: RowDrafts | None = None
        """Its guesses, once there were any."""
        self.measured: list[Measured] = []
        """Log-probabilities of the prompt's tokens, as far as it has been read."""
        self._set_sampling(sequence, special, longest=len(tokens) + left)

    def _set_sampling(self, sequence: Sequence, special: SpecialTokens, longest: int) -> None:
        sampling = sequence.job.sampling
        self.ends = ends_of(sampling, special, constrained=sequence.constraint is not None)
        """The tokens that end the answer."""
        self.logprobs = sampling.logprobs
        self.prompt_logprobs = sequence.wanted_of_prompt
        processor = logits_processor_of(sequence, special)
        self.sampler = RowSampler.of(
            sampling, sequence.position, processor, special=special, longest=longest
        )

    def least_shared(self, other: Row, otherwise: int) -> int:
        """How many tokens the two prompts must have in common to be read once: of rows that answer
        one prompt several times a few, else ``otherwise``."""
        group = self.sequence.job.group
        same = group is not None and group == other.sequence.job.group
        return LEAST_IN_GROUP if same else otherwise

    @property
    def last(self) -> int:
        """How many tokens are read before decode: all but the last, which is its first input."""
        return self.prompt_length - 1

    @property
    def reads_ahead(self) -> bool:
        """Whether it may begin behind what another prompt has in common with its own: not if the
        logits of all its tokens are wanted."""
        return self.reusable and self.prompt_logprobs is None

    @property
    def waits_for_disk(self) -> bool:
        """Whether the beginning of the prompt is about to come from the disk."""
        return self.disk_wait is not None and self.disk_wait.pending

    def next_stop(self, chunk: int) -> int:
        """Where the next chunk of the prompt ends: at a place for a checkpoint at the latest."""
        end = self.last if self.in_one_piece else min(self.last, self.read + chunk)
        return min((place for place in self.places if self.read < place <= end), default=end)

    def read_in_one_piece(self, cache: list[Any]) -> None:
        """Read the prompt from its first token to its last in one call, into an empty cache."""
        self.in_one_piece, self.cache, self.read = True, cache, 0
        self.places, self.checkpoints = set(), {}
        if not self.sequence.position:
            self.sequence.cached_tokens = 0


class Model(Protocol):
    """A loaded model as the batch loop runs it; everything but ``prepare`` on the engine's
    thread."""

    weight_bytes: int
    caches: CacheMaker
    reads_together: bool
    """Whether several prompts can be read at once, as tokens."""

    @property
    def adapters(self) -> AdapterBank | None:
        """None: it takes none."""

    def prepare(self, sequence: Sequence) -> list[str]:
        """As in Backend."""

    def cache_key(self, sequence: Sequence) -> Items[int]:
        """As in Backend."""

    def open(self, sequence: Sequence) -> Row:
        """A row for a prepared sequence."""

    def forward(self, ids: mx.array, cache: list[Any], rows: Iterable[Row] = ()) -> mx.array:
        """Feed [rows, tokens] to the caches of the rows; logits [rows, tokens, vocabulary]. Without
        ``rows`` none has an adapter."""

    def decode(self, inputs: mx.array, cache: list[Any], rows: list[Row]) -> mx.array:
        """Feed one token to each row; ``inputs`` is [rows], the result [rows, vocabulary]."""

    def poll(self, others_waiting: bool) -> float:
        """Go on with work beside the batch, such as image features. ``others_waiting``: streams
        wait for the end of this step. Returns for how long a row would find nothing to do, in
        seconds."""

    def removed(self, row: Row) -> None:
        """A row has been taken out before its end."""

    def reset(self) -> None:
        """All rows have been taken out."""

    def close(self) -> None:
        """The model is unloaded."""
