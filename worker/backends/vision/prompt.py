"""A vision model's prompts: messages and images in, token ids and pixels out. Thread-safe.

Images are bytes that the API has decoded and encoded again; nothing here opens a path or a URL.
"""

from __future__ import annotations

import inspect
import io
from collections.abc import Mapping
from collections.abc import Sequence as Items
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import numpy as np
from mlx_vlm.utils import prepare_inputs
from PIL import Image

from wire.messages import ImagePart, Message, OutputFormat
from worker.backends.text import chat_template
from worker.backends.text.continuation import continued, goes_on
from worker.backends.text.control_tokens import PLACEHOLDERS, ControlTokens
from worker.backends.text.formats.chat_format import chat_format
from worker.backends.text.formats.prompt_tools import with_tools
from worker.backends.text.template_text import template_source
from worker.backends.vision.escaped_tokenizer import EscapedTokenizer
from worker.backends.vision.host_arrays import on_host
from worker.backends.vision.template import VisionTemplate
from worker.errors import WorkerError

_IMAGE_TOKENS = (
    "image_patch_token_id",
    "image_token_id",
    "image_token_index",
    "media_placeholder_token_id",
    "image_patch_id",
)
_TAKE_ONE_IMAGE = {
    "bunny-llama",
    "deepseek_vl_v2",
    "deepseekocr",
    "deepseekocr_2",
    "granite4_vision",
    "granite_vision",
    "jvlm",
    "llava-qwen2",
    "llava_next",
    "moondream3",
    "multi_modality",
    "paddleocr_vl",
    "paligemma",
    "step3p7",
    "unlimited-ocr",
}
"""Model types that see one image: mlx_vlm's models leave out what is behind the first without a
word, or their processors fail on it."""


@dataclass(slots=True)
class VisionPrompt:
    """A prompt from the model's processor. ``arrays``, and lists of arrays, are on the host: any
    thread may have made them."""

    token_ids: list[int]
    key_ids: list[int]
    arrays: dict[str, Any]
    hashes: tuple[str, ...]

    @property
    def reusable(self) -> bool:
        """Whether its key tells this prompt from one about other images: not where none of its
        tokens stands for an image."""
        return not self.hashes or any(key < 0 for key in self.key_ids)


class VisionText:
    """A model's processor: messages in, prompts out. ``tokenizer`` is mlx_lm's wrapper, ``config``
    the model's. Without ``sees_images`` there are none in the prompts."""

    def __init__(
        self, processor: Any, tokenizer: Any, config: Any, sees_images: bool = True
    ) -> None:
        self._sees_images = sees_images
        self._takes_one = getattr(config, "model_type", None) in _TAKE_ONE_IMAGE
        self._processor = processor
        self._text = tokenizer
        self._tokenizer = getattr(processor, "tokenizer", processor)
        self.image_token = _image_token(config, processor, self._tokenizer)
        owner = processor if _renders(processor) else tokenizer
        if owner is tokenizer or not tokenizer.chat_template:
            # Thinking and tool calls are told from it.
            own = getattr(processor, "chat_template", None)
            tokenizer.chat_template = own or tokenizer.chat_template
        self._controls = _controls(
            self._tokenizer, processor, owner, chat_template.own_marks(tokenizer)
        )
        self.template = VisionTemplate(owner, processor, config, sees_images=sees_images)

    def encode(
        self, messages: Items[Message], form: OutputFormat, images: Mapping[str, bytes]
    ) -> VisionPrompt:
        """The prompt of a conversation; ``images`` are its pictures' bytes by SHA-256."""
        parts = [part for message in messages for part in message.images() if self._sees_images]
        if self._takes_one and len(parts) > 1:
            raise _one_image()
        pictures = [_picture(images, part) for part in parts]
        inputs = self._inputs(messages, form, pictures)
        arrays = {
            name: on_host(value)
            for name, value in inputs.items()
            if isinstance(value, (mx.array, np.ndarray, list))
        }
        first, *others = arrays.pop("input_ids")
        if others:
            raise _one_image()  # Molmo's processor writes a prompt for each image.
        token_ids = [int(token) for token in first]
        arrays.pop("attention_mask", None)
        if pictures and "pixel_values" not in arrays:
            raise WorkerError(
                "template_failed", "This model's image processor is missing: it can't see images."
            )
        hashes = tuple(part.sha256 for part in parts)
        keys = key_ids(token_ids, self.image_token, hashes, together=_are_padded(arrays))
        return VisionPrompt(token_ids, keys, arrays, hashes)

    def _inputs(
        self, messages: Items[Message], form: OutputFormat, pictures: list[Image.Image]
    ) -> dict[str, Any]:
        """The processor's inputs for a prompt, with the model's image tokens in place of images."""
        if form.raw:
            text = "".join(message.text() for message in messages)
            return self._processed(self._processor, text, pictures)
        if form.prompt_tools:
            takes_system = self.template.takes_system
            messages = with_tools(messages, form.tools, takes_system=takes_system)
        rows = self.template.rows(messages)
        options = chat_template.template_options(form, self._text)
        escaped = self._controls.escaped(rows, options)
        if escaped is not None:
            rows, options = escaped.rows, escaped.options
        marks = chat_format(self._text)
        if form.continue_final and goes_on(rows):
            text = continued(
                rows,
                lambda turns, opens: self.template.render(turns, options, opens=opens),
                marks.thinking,
            )
        else:
            text = self.template.render(rows, options)
        if form.is_guided:
            is_open = marks.thinking is not None and marks.thinking.is_open_in(text)
            text += chat_template.guided_start(options, marks, form, is_open=is_open)
        if escaped is None:
            return self._processed(self._processor, text, pictures)
        tokenizer = EscapedTokenizer(self._tokenizer, self._controls, escaped.escape)
        inputs = self._processed(tokenizer.inside(self._processor), text, pictures)
        if not tokenizer.was_used:
            raise WorkerError(
                "template_failed", "This model can't be shown its own control tokens as text."
            )
        return inputs

    def _processed(self, processor: Any, text: str, pictures: list[Image.Image]) -> dict[str, Any]:
        """A processor's inputs for a text with marks for the images."""
        try:
            # Some of the library's processors can't tell the image token: it writes that itself.
            return dict(
                prepare_inputs(
                    processor,
                    images=pictures or None,
                    prompts=[text],
                    image_token_index=self.image_token,
                )
            )
        except Exception as error:
            if not pictures:
                raise
            # Its message may quote the conversation.
            raise WorkerError(
                "template_failed",
                "The model's processor can't put these images into a prompt"
                f" ({type(error).__name__}).",
            ) from error


def _one_image() -> WorkerError:
    return WorkerError(
        "template_failed", "This model takes one image in a conversation, and no more."
    )


def _are_padded(arrays: Mapping[str, Any]) -> bool:
    """Whether a processor has padded images to the size of others. mlx_vlm's Idefics 2 attends to
    the padding, so what it sees of an image depends on those beside it."""
    shown = arrays.get("pixel_attention_mask")
    return isinstance(shown, np.ndarray) and not shown.all()


def key_ids(
    token_ids: Items[int],
    image_token: int | None,
    hashes: Items[str],
    *,
    together: bool = False,
) -> list[int]:
    """Token ids with each image's hash, as a negative number, in place of its tokens.

    ``together``: every image token carries the hash of all images. So it does where the runs of
    image tokens don't match the images one to one: some models cut an image into tiles.
    """
    runs = [
        i
        for i, token in enumerate(token_ids)
        if is_mark(token, image_token) and (i == 0 or token_ids[i - 1] != token)
    ]
    one_each = not together and len(runs) == len(hashes)
    numbers = [-1 - int(sha[:15], 16) for sha in hashes]
    of_all = hash_together(hashes)
    result, run = [], -1
    for i, token in enumerate(token_ids):
        if not hashes or not is_mark(token, image_token):
            result.append(token)
            continue
        run += i == 0 or token_ids[i - 1] != token
        result.append(numbers[run] if one_each else of_all)
    return result


def is_mark(token: int, image_token: int | None) -> bool:
    """Whether a token stands for an image. Some processors count images down from -1."""
    return token == image_token or token < 0


def hash_together(hashes: Items[str]) -> int:
    """A negative number for several images in their order."""
    combined = 0
    for sha in hashes:
        combined = (combined * 31 + int(sha[:15], 16)) % (1 << 60)
    return -1 - combined


def _picture(images: Mapping[str, bytes], part: ImagePart) -> Image.Image:
    if part.sha256 not in images:
        raise WorkerError("invalid_image", "An image of this chat is not kept any more.")
    with Image.open(io.BytesIO(images[part.sha256]), formats=["PNG"]) as opened:
        return opened.convert("RGB")


def _controls(tokenizer: Any, processor: Any, owner: Any, own: Items[str]) -> ControlTokens:
    """A model's control tokens, and every other text that its processor takes for an image."""
    names = [name for name in (*dir(type(processor)), *vars(processor)) if name.endswith("_token")]
    marks = [getattr(processor, name, None) for name in names]
    others = [*PLACEHOLDERS, *(mark for mark in marks if isinstance(mark, str))]
    return ControlTokens(tokenizer, template_source(owner), own, others)


def _renders(processor: Any) -> bool:
    """Whether a processor renders the model's chat template. Some of mlx_vlm's do so without a
    sandbox, where a template can run any code: for these the tokeniser does."""
    render = getattr(type(processor), "apply_chat_template", None)
    if render is None or not getattr(processor, "chat_template", None):
        return False
    return "jinja2" not in inspect.getsource(render)


def _image_token(config: Any, processor: Any, tokenizer: Any) -> int | None:
    """The token that stands for images in a model's prompts; None if there is none of that kind."""
    for owner in (config, getattr(config, "thinker_config", None), processor):
        for name in _IMAGE_TOKENS:
            if isinstance(value := getattr(owner, name, None), int):
                return value
    # Molmo's and MiniCPM's are told by their processors alone, as texts.
    image_processor = getattr(processor, "image_processor", None)
    marks = getattr(processor, "image_patch_token", None), getattr(image_processor, "unk", None)
    mark = next((mark for mark in marks if isinstance(mark, str)), None)
    return None if mark is None else tokenizer.convert_tokens_to_ids(mark)
