"""A backend without weights, for tests: token i is a known function of (prompt, seed, i)."""

from __future__ import annotations

import hashlib
import os
import signal
import threading
import time
from weakref import WeakKeyDictionary

from wire.messages import ChatJob, Message
from worker import prompt
from worker.backends import echo_script
from worker.backends.base import Step, Token
from worker.errors import WorkerError
from worker.sequence import Output, Sequence, TextDecoder

CONTEXT_WINDOW = 4096
WORDS = 4096
BAD_PROMPT = "please fail in prefill"
BAD_STEP = "please fail in decode"
DEADLY = "please kill this process"
DEADLY_PROMPT = "please die while you read this"
HANGING_PROMPT = "please hang while you read this"
HANGING = "please hang now"


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


def _line(message: Message, *, raw: bool) -> str:
    return message.text() if raw else f"{message.role}:{message.text()}\n"


def _next(sequence: Sequence, text: str) -> Token:
    script = echo_script.script_of(sequence.job)
    if script is None:
        token = word_after(text, sequence.job.sampling.seed, sequence.position)
    else:
        token = echo_script.token_at(script, sequence.position)
    if token == echo_script.FIRST:
        return Token(sequence, token, "stop")
    return Token(sequence, token, "length" if sequence.tokens_left <= 1 else None)


def _decoder(job: ChatJob) -> TextDecoder:
    if echo_script.script_of(job) is None:
        return EchoDecoder(job.sampling.stop)
    from worker.backends.echo_decoder import ScriptDecoder  # Imports MLX.

    return ScriptDecoder(job)


def _misbehave(text: str) -> None:
    """Fail in a step as a broken model or driver would, for prompts that ask for it."""
    if BAD_STEP in text:
        raise RuntimeError("the echo backend was asked to fail in a step")
    if DEADLY in text:
        os.kill(os.getpid(), signal.SIGKILL)
    if HANGING in text:
        threading.Event().wait()


class EchoDecoder:
    """Words become text at once; a stop text is recognised within one word."""

    def __init__(self, stop: tuple[str, ...]) -> None:
        self.stop_text: str | None = None
        self._stop = stop

    @property
    def stopped(self) -> bool:
        return self.stop_text is not None

    def add(self, token: int) -> Output:
        text = f"w{token} "
        self.stop_text = next((stop for stop in self._stop if stop in text), None)
        if self.stopped:
            return Output()
        return Output(text)

    def finish(self) -> Output:
        return Output()


class EchoBackend:
    """Runs any number of sequences, one word each a step; a step takes ``delay_s`` seconds."""

    def __init__(self, delay_s: float, prefill_step: int) -> None:
        self.weight_bytes = 0
        self._delay_s = delay_s
        self._due = 0.0
        self._prefill_step = prefill_step
        self._read: dict[Sequence, int] = {}
        self._fingerprints: WeakKeyDictionary[Sequence, str] = WeakKeyDictionary()

    def start(self) -> None:
        pass

    def prepare(self, sequence: Sequence) -> list[str]:
        job = sequence.job
        # As a template, a tokeniser or a grammar may do.
        if DEADLY_PROMPT in job.messages[-1].text():
            os.kill(os.getpid(), signal.SIGSEGV)
            # The signal may take its time, and nothing comes of such a prompt.
            threading.Event().wait()
        if HANGING_PROMPT in job.messages[-1].text():
            threading.Event().wait()
        if job.form.json_schema is not None:
            raise WorkerError("unsupported", "The echo backend keeps to no schema.")
        built = prompt.build(
            job.messages,
            lambda messages: list("".join(_line(m, raw=job.form.raw) for m in messages).encode()),
            context_window=CONTEXT_WINDOW,
            max_tokens=job.sampling.max_tokens,
            shorten=job.form.truncation == "auto",
        )
        sequence.begin(built.token_ids, _decoder(job))
        return prompt.warnings(built, job.messages, sees_images=False)

    def add(self, sequence: Sequence) -> None:
        if BAD_PROMPT in sequence.job.messages[-1].text():
            raise WorkerError("engine_failed", "The echo backend was asked to fail.")
        self._read[sequence] = 0
        self._fingerprints[sequence] = fingerprint(sequence.prompt_ids)

    def step(self, others_waiting: bool = False) -> Step:  # noqa: ARG002
        self._keep_pace()
        step = Step()
        for sequence in list(self._read):
            total = len(sequence.prompt_ids)
            if self._read[sequence] < total:
                self._read[sequence] = min(total, self._read[sequence] + self._prefill_step)
                step.prefill.append((sequence, self._read[sequence], total))
                continue
            _misbehave(sequence.job.messages[-1].text())
            token = _next(sequence, self._fingerprints[sequence])
            step.tokens.append(token)
            if token.end is not None:
                del self._read[sequence]
        return step

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
        return EchoBackend(self._delay_s, self._prefill_step)

    def close(self) -> None:
        self._read.clear()
