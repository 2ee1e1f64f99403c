"""Text models' prompts: all that a model's folder says about them, its weights left out."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from collections.abc import Sequence as Items
from pathlib import Path
from typing import Any

from mlx_lm.utils import load_config, load_tokenizer

from wire.messages import ChatJob, Message, OutputFormat
from wire.model_registry import ModelRecord
from worker import prompt
from worker.backends.answers import Answers
from worker.backends.batching.checkpoints import checkpoints
from worker.backends.libraries import code_of
from worker.backends.loading import configured_ends
from worker.backends.text.prompt_encoder import PromptEncoder
from worker.backends.text.vocabulary import Vocabulary, sizes_in
from worker.prompt import Prompt
from worker.sequence import Sequence


def open_text(record: ModelRecord) -> LmText:
    """What makes a model's prompts. Raises an error of any type for a folder that can't be read."""
    folder = Path(record.path)
    config = load_config(folder)
    tokenizer = load_tokenizer(
        folder, {"trust_remote_code": False}, eos_token_ids=config.get("eos_token_id")
    )
    sizes = sizes_in(_arguments(config))
    return LmText(tokenizer, record.context_window, configured_ends(folder), sizes)


def _arguments(config: dict[str, Any]) -> Any:
    """A model's config with the defaults of its architecture; None for one that mlx_lm doesn't
    have, whose model can't be loaded either."""
    code = code_of("mlx_lm", str(config.get("model_type")))
    if code is None:
        return None
    return importlib.import_module(f"mlx_lm.models.{code.stem}").ModelArgs.from_dict(config)


class LmText:
    """A model's tokeniser: messages in, token ids out. Thread-safe."""

    def __init__(
        self,
        tokenizer: Any,
        context_window: int,
        ends: Iterable[int] = (),
        sizes: Items[Any] = (),
    ) -> None:
        """``ends`` are end-of-text tokens besides the tokeniser's; ``sizes`` are as in
        Vocabulary."""
        self._vocabulary = Vocabulary(tokenizer, sizes)
        self.tokenizer = tokenizer
        self.context_window = context_window
        # mlx_lm's wrapper has no public name for what it wraps.
        self.prompts = prompts = PromptEncoder(tokenizer, tokenizer._tokenizer)
        self.encode = prompts.encode
        self.answers = Answers(
            tokenizer,
            {int(token) for token in tokenizer.eos_token_ids}.union(ends),
            lambda rows: prompts.render(rows, opens=False),
        )

    def prompt(self, job: ChatJob) -> Prompt:
        """A job's prompt. Raises WorkerError for one that can't be used."""
        return prompt.build(
            job.messages,
            lambda messages: self._tokens(messages, job.form),
            context_window=self.context_window,
            max_tokens=job.sampling.max_tokens,
            shorten=job.form.truncation == "auto",
        )

    def count(self, job: ChatJob, images: Mapping[str, bytes]) -> int:  # noqa: ARG002
        """As in PromptCounter."""
        return len(self.prompt(job).token_ids)

    def prepare(self, sequence: Sequence, *, finds_checkpoints: bool = False) -> list[str]:
        """As in Backend. ``finds_checkpoints``: the prompt is searched for places where the model's
        cache is worth keeping."""
        job = sequence.job
        built = self.prompt(job)
        self.answers.begin(sequence, built.token_ids)
        if finds_checkpoints and not job.form.raw:
            sequence.checkpoints = checkpoints(
                lambda messages: self.encode(messages, job.form), built.messages, built.token_ids
            )
        return [
            *prompt.warnings(built, job.messages, sees_images=False),
            *self.answers.warnings(job.form),
        ]

    def _tokens(self, messages: Items[Message], form: OutputFormat) -> list[int]:
        if form.prompt_ids:
            return self._vocabulary.checked(form.prompt_ids)
        return self.encode(messages, form)

    def tokens_left(self, sequence: Sequence) -> int:
        """How many more tokens the answer may have, by its own limit and by the context window."""
        return min(sequence.tokens_left, self.context_window - len(sequence.tokens))
