"""The texts of a job as a model gets them: with their prompts, and within its limit of tokens."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence as Items

from wire.messages import ChatJob, Pooling
from worker.backends.pooling.folder import PoolingFolder
from worker.backends.pooling.model import Input
from worker.errors import WorkerError

_FIELDS = {"embed": "input", "rerank": "documents"}
_OF_DOCUMENTS = ("document", "passage")


def pooling_of(job: ChatJob) -> Pooling:
    """What is asked for. Raises WorkerError for a chat."""
    if job.form.pooling is None:
        raise WorkerError("unsupported", "This model makes vectors and writes no text.")
    return job.form.pooling


def without_instruction(job: ChatJob) -> Pooling:
    """What is asked of a model that takes no instruction. Raises WorkerError for one."""
    if (pooling := pooling_of(job)).instruction is not None:
        sentence = "This model takes no instruction: leave it out."
        raise WorkerError("unsupported", sentence, param="instruction")
    return pooling


def texts_of(job: ChatJob, folder: PoolingFolder) -> list[str]:
    """The texts of a job with the prompts that the folder has for them. Raises WorkerError."""
    prompt = _prompt(pooling_of(job), folder)
    return [prompt + message.text() for message in job.messages]


def compared_texts(job: ChatJob, folder: PoolingFolder) -> list[str]:
    """The query, and the texts that are compared with it. Raises WorkerError."""
    prompts = folder.prompts
    before = next((prompts[name] for name in _OF_DOCUMENTS if name in prompts), "")
    query = prompts.get("query", "") + without_instruction(job).query
    return [query, *(before + message.text() for message in job.messages)]


def _prompt(pooling: Pooling, folder: PoolingFolder) -> str:
    name, prompts = pooling.prompt_name, folder.prompts
    if name is None:
        return prompts.get(folder.default_prompt or "", "")
    if name not in prompts:
        raise WorkerError("invalid_request", _no_prompt(prompts), param="prompt_name")
    return prompts[name]


def _no_prompt(prompts: Mapping[str, str]) -> str:
    if not prompts:
        return "This model's folder names no prompts: leave prompt_name out."
    return f"This model has no prompt of this name. It has: {', '.join(sorted(prompts))}."


def within_limit(
    job: ChatJob, inputs: Items[Input], tails: Items[int], most_tokens: int, heads: int = 0
) -> list[Input]:
    """The inputs, those that are too long cut if the job allows it: before the ``tails``, the
    numbers of tokens that end an input and belong to no text.

    ``heads`` is how many of the inputs come before those of the job's texts. Raises WorkerError
    ``prompt_too_long``.
    """
    pooling, cuts = pooling_of(job), job.form.truncation == "auto"
    limit = min(most_tokens, pooling.most_tokens or most_tokens)
    fitting = []
    for number, (one, tail) in enumerate(zip(inputs, tails, strict=True)):
        if len(one.ids) > limit:
            place = number - heads
            param = f"{_FIELDS[pooling.task]}[{place}]" if place >= 0 else "query"
            if not cuts or limit <= tail:
                raise _too_long(param, len(one.ids), limit)
            one = _cut(one, limit, tail)
        fitting.append(one)
    return fitting


def _cut(one: Input, limit: int, tail: int) -> Input:
    end = len(one.ids) - tail

    def cut(values: list[int]) -> list[int]:
        return [*values[: limit - tail], *values[end:]]

    return Input(cut(one.ids), None if one.types is None else cut(one.types))


def _too_long(param: str, tokens: int, limit: int) -> WorkerError:
    sentence = (
        f"This model's maximum context length is {limit} tokens. However, {param} resulted in "
        f"{tokens} tokens. Please reduce its length, or have long texts cut with "
        "truncate_prompt_tokens: -1."
    )
    return WorkerError("prompt_too_long", sentence, param=param)
