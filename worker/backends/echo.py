"""A backend without weights, for tests: token i is a known function of (prompt, seed, i).

It honours what says where an answer ends (``max_tokens``, ``min_tokens``, ``ignore_eos``, ``stop``,
``stop_token_ids``) and refuses token ids that it doesn't have. It samples nothing: the other
settings of a request change nothing in its answers.
"""

from __future__ import annotations

import hashlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from collections.abc import Sequence as Items
from typing import NamedTuple
from weakref import WeakKeyDictionary

from wire.messages import ChatJob, Message, OutputFormat
from wire.model_registry import ModelRecord
from worker import prompt
from worker.backends import echo_logprobs, echo_script
from worker.backends.base import EndOfText, Step, Token
from worker.backends.echo_cache import PromptReuse
from worker.backends.sampling.special_tokens import refuse_unknown_ids
from worker.backends.stop_texts import StopTexts
from worker.errors import WorkerError
from worker.sequence import Sequence
from worker.text_decoder import Output, TextDecoder

CONTEXT_WINDOW = 4096
"""That of its model unless another one is set."""
ECHO_MODEL = ModelRecord(
    id="echo",
    name="demo-chat",
    path="",
    size=0,
    architecture="echo",
    context_window=CONTEXT_WINDOW,
    is_vision=False,
    revision="echo",
    takes_tools=True,
)
"""What the echo backend serves, under the shipped chat model's name so that the same requests
work."""
WORDS = 4096
BAD_PROMPT = "please fail in prefill"
BAD_STEP = "please fail in decode"
DEADLY = "please kill this process"
DEADLY_PROMPT = "please die while you read this"
HANGING_PROMPT = "please hang while you read this"
HANGING = "please hang now"
WAITING = "please say one word and wait"
"""Its chat keeps its slot, without another token, until it is stopped."""


def word(prompt_ids: list[int], seed: int, position: int) -> int:
    """The token at a position of the answer: a word's number."""
    return word_after(fingerprint(prompt_ids), seed, position)


def fingerprint(prompt_ids: list[int]) -> str:
    """A hash of a prompt, computed once for all words of an answer."""
    return hashlib.blake2b(bytes(i % 256 for i in prompt_ids), digest_size=8).hexdigest()


def word_after(text: str, seed: int, position: int) -> int:
    """The token at a position of the answer to the prompt with this fingerprint."""
    digest = hashlib.blake2b(f"{text}:{seed}:{position}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") % WORDS


def answer(text: str, seed: int, length: int) -> str:
    """The whole answer to a one-message chat."""
    ids = list(f"user:{text}\n".encode())
    return "".join(f"w{word(ids, seed, i)} " for i in range(length))


def _prompt(messages: Items[Message], form: OutputFormat) -> str:
    """A line a message; one that goes on is left open."""
    if form.raw:
        return "".join(message.text() for message in messages)
    lines = "".join(f"{message.role}:{message.text()}\n" for message in messages)
    return lines.removesuffix("\n") if form.continue_final else lines


def _tokens(messages: Items[Message], form: OutputFormat) -> list[int]:
    """A prompt's tokens: bytes, or the ids that were sent."""
    if any(token >= WORDS for token in form.prompt_ids):
        raise WorkerError("bad_prompt", "The prompt has a token id that no word has.")
    if form.prompt_ids:
        return list(form.prompt_ids)
    return list(_prompt(messages, form).encode())


def prompt_of(job: ChatJob, context_window: int) -> prompt.Prompt:
    """A job's prompt. Raises WorkerError for one that can't be used."""
    # As a template, a tokeniser or a grammar may do.
    if DEADLY_PROMPT in job.messages[-1].text():
        os.kill(os.getpid(), signal.SIGSEGV)
        # The signal may take its time, and nothing comes of such a prompt.
        threading.Event().wait()
    if HANGING_PROMPT in job.messages[-1].text():
        threading.Event().wait()
    if job.form.is_guided:
        raise WorkerError("unsupported", "The echo backend keeps to no schema and no grammar.")
    if job.sampling.thinking_budget is not None and echo_script.script_of(job) is not None:
        raise WorkerError("unsupported", "The echo backend limits no thinking.")
    return prompt.build(
        job.messages,
        lambda messages: _tokens(messages, job.form),
        context_window=context_window,
        max_tokens=job.sampling.max_tokens,
        shorten=job.form.truncation == "auto",
    )


class _Asked(NamedTuple):
    """What a chat's words depend on, looked at once for all of them."""

    text: str
    fingerprint: str
    script: str | None


def _next(sequence: Sequence, asked: _Asked) -> Token:
    script, sampling = asked.script, sequence.job.sampling
    may_end = sequence.position >= sampling.min_tokens
    if script is None:
        token = word_after(asked.fingerprint, sampling.seed, sequence.position)
    else:
        ends = may_end and not sampling.ignore_eos
        token = echo_script.token_at(script, sequence.position, ends=ends)
    if not may_end:
        token = _another(token, sampling.stop_token_ids)
    measured = echo_logprobs.of_token(sequence, token)
    if token == echo_script.FIRST or token in sampling.stop_token_ids:
        return Token(sequence, token, "stop", measured)
    end: EndOfText | None = "length" if sequence.tokens_left <= 1 else None
    return Token(sequence, token, end, measured)


def _another(token: int, held_back: tuple[int, ...]) -> int:
    """The token, or the next one that isn't held back."""
    following = (token + i for i in range(len(held_back) + 1))
    return next(other for other in following if other not in held_back)


def _decoder(job: ChatJob) -> TextDecoder:
    if echo_script.script_of(job) is None:
        return EchoDecoder(job.sampling.stop, job.sampling.min_tokens)
    from worker.backends.echo_decoder import script_decoder  # Imports MLX.

    return script_decoder(job)


def misbehave(text: str) -> None:
    """Fail in a step as a broken model or driver would, for prompts that ask for it."""
    if BAD_STEP in text:
        raise RuntimeError("the echo backend was asked to fail in a step")
    if DEADLY in text:
        os.kill(os.getpid(), signal.SIGKILL)
    if HANGING in text:
        threading.Event().wait()


class EchoDecoder:
    """Words become text at once; a stop text is recognised within one word."""

    reasoning_tokens = 0
    has_open_call = False

    def __init__(self, stop: tuple[str, ...], min_tokens: int = 0) -> None:
        self.stop_text: str | None = None
        self._stops = StopTexts(stop, min_tokens)

    @property
    def stopped(self) -> bool:
        return self.stop_text is not None

    def add(self, token: int) -> Output:
        text = f"w{token} "
        self._stops.count_token()
        if self._stops.heeded:
            self.stop_text = self._stops.inside(text)
        if self.stopped:
            return Output()
        return Output(text)

    def finish(self) -> Output:
        return Output()

    def token_bytes(self, token: int, before: Items[int], *, of_prompt: bool = False) -> bytes:  # noqa: ARG002
        return bytes([token % 256]) if of_prompt else f"w{token} ".encode()


class EchoBackend:
    """Runs any number of sequences, one word each a step; a step takes ``delay_s`` seconds."""

    adapters = None

    def __init__(
        self,
        delay_s: float,
        prefill_step: int,
        context_window: int = CONTEXT_WINDOW,
        reuse: PromptReuse | None = None,
    ) -> None:
        self.weight_bytes = 0
        self._reuse = reuse
        self._delay_s = delay_s
        self._due = 0.0
        self._prefill_step = prefill_step
        self._context_window = context_window
        self._read: dict[Sequence, int] = {}
        self._asked: WeakKeyDictionary[Sequence, _Asked] = WeakKeyDictionary()

    def start(self) -> Iterator[None]:
        return iter(())

    def prepare(self, sequence: Sequence) -> list[str]:
        job = sequence.job
        built = prompt_of(job, self._context_window)
        sequence.begin(built.token_ids, _decoder(job))
        return prompt.warnings(built, job.messages, sees_images=False)

    def cache_key(self, sequence: Sequence) -> Items[int]:
        return sequence.prompt_ids

    def add(self, sequence: Sequence) -> None:
        if BAD_PROMPT in sequence.job.messages[-1].text():
            raise WorkerError("engine_failed", "The echo backend was asked to fail.")
        refuse_unknown_ids(sequence.job.sampling, echo_script.VOCABULARY)
        self._read[sequence] = 0 if self._reuse is None else self._reuse.look_up(sequence)
        text, script = sequence.job.messages[-1].text(), echo_script.script_of(sequence.job)
        self._asked[sequence] = _Asked(text, fingerprint(sequence.prompt_ids), script)

    def step(self, others_waiting: bool = False) -> Step:  # noqa: ARG002
        self._keep_pace()
        step = Step()
        for sequence in list(self._read):
            total = len(sequence.prompt_ids)
            if self._read[sequence] < total:
                self._read[sequence] = min(total, self._read[sequence] + self._prefill_step)
                step.prefill.append((sequence, self._read[sequence], total))
                if self._read[sequence] == total:
                    self._tell_of_prompt(sequence, step)
                continue
            asked = self._asked[sequence]
            misbehave(asked.text)
            if WAITING in asked.text and sequence.generated:
                continue
            token = _next(sequence, asked)
            step.tokens.append(token)
            if token.end is not None:
                self._leave(sequence)
        return step

    def _leave(self, sequence: Sequence) -> None:
        del self._read[sequence]
        if self._reuse is not None:
            self._reuse.keep(sequence)

    def _tell_of_prompt(self, sequence: Sequence, step: Step) -> None:
        wanted = sequence.wanted_of_prompt
        if wanted is None:
            return
        step.prompts.append((sequence, echo_logprobs.of_prompt(sequence.prompt_ids, wanted)))
        if sequence.tokens_left <= 0:
            del self._read[sequence]

    def _keep_pace(self) -> None:
        """Wait until a step's time has passed since the last one, whatever was done meanwhile."""
        now = time.monotonic()
        if self._due > now:
            time.sleep(self._due - now)
        self._due = max(now, self._due) + self._delay_s

    def remove(self, sequence: Sequence) -> None:
        self._read.pop(sequence, None)

    def sequences(self) -> list[Sequence]:
        return list(self._read)

    def prefilling(self) -> list[Sequence]:
        return [sequence for sequence in self._read if not sequence.generated]

    def reset(self) -> None:
        self._read.clear()

    def batch_lane(self) -> EchoBackend:
        return EchoBackend(self._delay_s, self._prefill_step, self._context_window)

    def close(self) -> None:
        self._read.clear()
        if self._reuse is not None:
            self._reuse.forget()
