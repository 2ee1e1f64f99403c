"""Qwen3-Reranker's prompt: a chat in which the model says whether a document fits a query. The
words are those of its card, which its chat template doesn't have."""

from __future__ import annotations

from wire.messages import ChatJob
from worker.backends.pooling.model import Input
from worker.backends.pooling.texts import pooling_of, within_limit
from worker.backends.pooling.tokens import TextTokenizer

INSTRUCTION = "Given a web search query, retrieve relevant passages that answer the query"
_BEFORE = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and "
    'the Instruct provided. Note that the answer can only be "yes" or "no".<|im_end|>\n'
    "<|im_start|>user\n"
)
_BEHIND = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"


class RerankerPrompt:
    """Makes the prompts of a job, one for each document."""

    def __init__(self, tokens: TextTokenizer, most_tokens: int) -> None:
        self._tokens, self._most_tokens = tokens, most_tokens
        (before, behind), _ = tokens.encode([_BEFORE, _BEHIND], special=False)
        self._before, self._behind = before.ids, behind.ids

    def inputs(self, job: ChatJob) -> list[Input]:
        """Raises WorkerError for a document that is too long."""
        pooling = pooling_of(job)
        asked = f"<Instruct>: {pooling.instruction or INSTRUCTION}\n<Query>: {pooling.query}\n"
        texts = [f"{asked}<Document>: {message.text()}" for message in job.messages]
        bodies, _ = self._tokens.encode(texts, special=False)
        inputs = [Input([*self._before, *body.ids, *self._behind]) for body in bodies]
        return within_limit(job, inputs, [len(self._behind)] * len(inputs), self._most_tokens)
