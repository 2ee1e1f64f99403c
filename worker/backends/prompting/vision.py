"""Vision models' prompts: all that a model's folder says about them, its weights left out."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence as Items
from pathlib import Path
from typing import Any

from mlx_vlm.utils import (
    apply_generation_config_defaults,
    get_model_and_args,
    load_config,
    load_image_processor,
    load_processor,
    update_module_configs,
)

from wire.messages import ChatJob, Message
from wire.model_registry import ModelRecord
from worker import prompt
from worker.backends.answers import Answers
from worker.backends.loading import configured_ends
from worker.backends.text.vocabulary import Vocabulary, sizes_in
from worker.backends.vision.own_code import (
    never_run_code,
    register_configurations,
    text_tokenizer,
)
from worker.backends.vision.prompt import VisionPrompt, VisionText
from worker.backends.vision.tiles import complete_tiles
from worker.prompt import Prompt

_MODULES = ("text", "vision", "perceiver", "projector", "audio")
"""The parts of a model's config that mlx_vlm makes objects of."""


def open_text(record: ModelRecord, config: Any = None) -> VlmText:
    """What makes a model's prompts; ``config`` is the model's, where it is loaded. Raises an error
    of any type for a folder that can't be read."""
    never_run_code()
    register_configurations()
    folder = Path(record.path)
    if config is None:
        config = _config(folder)
    # The processors are the library's own; code in a model's folder is not run.
    processor = load_processor(
        folder, eos_token_ids=getattr(config, "eos_token_id", None), trust_remote_code=False
    )
    if (image_processor := load_image_processor(folder, trust_remote_code=False)) is not None:
        processor.image_processor = image_processor
    complete_tiles(processor)
    return VlmText(processor, config, record)


def _config(folder: Path) -> Any:
    """A model's config as mlx_vlm's load_model makes it."""
    values = load_config(folder)
    module, _ = get_model_and_args(values)
    values.setdefault("text_config", values.pop("llm_config", {}))
    values.setdefault("vision_config", {})
    values.setdefault("audio_config", {})
    made = module.ModelConfig.from_dict(values)
    made = update_module_configs(made, module, values, _MODULES)
    return apply_generation_config_defaults(made, values)


class VlmText:
    """A model's tokeniser and processor: messages and images in, prompts out. Thread-safe."""

    def __init__(self, processor: Any, config: Any, record: ModelRecord) -> None:
        # mlx_lm's wrapper creates a streaming detokeniser for each chat; the processor shares one.
        folder = Path(record.path)
        self.tokenizer = tokenizer = text_tokenizer(folder, processor)
        ends = configured_ends(folder).union(_end_tokens(config, processor, tokenizer))
        self.vision = VisionText(processor, tokenizer, config, sees_images=record.is_vision)
        template = self.vision.template
        self.answers = Answers(tokenizer, ends, lambda rows: template.render(rows, opens=False))
        self._vocabulary = Vocabulary(tokenizer, sizes_in(config))
        self._context_window = record.context_window

    def prompt(self, job: ChatJob, images: Mapping[str, bytes]) -> tuple[Prompt, VisionPrompt]:
        """A job's prompt, and what its processor made of it; ``images`` are its pictures' bytes by
        SHA-256. Raises WorkerError for one that can't be used."""
        prompts: list[VisionPrompt] = []

        def encode(messages: Items[Message]) -> list[int]:
            ids = job.form.prompt_ids
            prompts[:] = [
                self._prompt_of(ids) if ids else self.vision.encode(messages, job.form, images)
            ]
            return prompts[0].token_ids

        built = prompt.build(
            job.messages,
            encode,
            context_window=self._context_window,
            max_tokens=job.sampling.max_tokens,
            shorten=job.form.truncation == "auto",
        )
        return built, prompts[0]

    def count(self, job: ChatJob, images: Mapping[str, bytes]) -> int:
        """As in PromptCounter."""
        return len(self.prompt(job, images)[0].token_ids)

    def _prompt_of(self, ids: Items[int]) -> VisionPrompt:
        """A prompt that was sent as token ids."""
        mark = self.vision.image_token
        checked = self._vocabulary.checked(ids, () if mark is None else (mark,))
        return VisionPrompt(checked, list(checked), {}, ())


def _end_tokens(config: Any, processor: Any, tokenizer: Any) -> list[int]:
    """The tokens that end an answer: the model's, the tokeniser's, and further ones of the
    processor's, such as ``<end_of_utterance>``."""
    ends = getattr(config, "eos_token_id", None)
    tokens = set(ends if isinstance(ends, (list, tuple)) else [] if ends is None else [ends])
    if tokenizer.eos_token_id is not None:
        tokens.add(tokenizer.eos_token_id)
    tokens.update(getattr(processor, "additional_eos_token_ids", ()))
    return sorted(int(token) for token in tokens)
