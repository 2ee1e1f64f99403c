"""The model's own byte-level BPE tokenizer and its chat template."""

from collections.abc import Iterator
from pathlib import Path
from random import Random

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from .conversations.dialogues import draw_dialogue
from .pictures.scenes import draw_scene

PAD, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
PICTURE_START, PICTURE, PICTURE_END = "<|vision_start|>", "<|image_pad|>", "<|vision_end|>"
VIDEO, VISION_PAD = "<|video_pad|>", "<|vision_pad|>"
SPECIAL = (PAD, START, END, PICTURE_START, PICTURE_END, PICTURE, VIDEO, VISION_PAD)
ROLES = ("system", "user", "assistant")
CONTEXT = 4096
VOCABULARY = 640

# A message's content is a string or a list of parts. Its pictures go before its text in whatever order they were sent:
# so the model reads every question after it has seen what the question is about.
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' ~ message['role'] ~ '\\n' }}"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% elif message['content'] %}"
    "{% for part in message['content'] if part['type'] in ('image', 'image_url', 'input_image') %}"
    "{{ '<|vision_start|><|image_pad|><|vision_end|>' }}"
    "{% endfor %}"
    "{% for part in message['content'] if part['type'] in ('text', 'input_text') %}"
    "{{ part['text'] or part['content'] }}"
    "{% endfor %}"
    "{% endif %}"
    "{{ '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def _texts(rng: Random, count: int) -> Iterator[str]:
    for _ in range(count):
        dialogue = draw_dialogue(
            rng, lambda: draw_scene(rng, 100, 100), lambda so_far: len(so_far.turns) < 4
        )
        if dialogue.system:
            yield f"system\n{dialogue.system}"
        for turn in dialogue.turns:
            yield f"user\n{turn.text}"
            yield f"assistant\n{turn.answer}"


def train_tokenizer(seed: int, count: int = 4000) -> PreTrainedTokenizerFast:
    """Train the tokenizer on freshly drawn conversations."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(_texts(Random(seed), count), trainer)
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token=END,
        pad_token=PAD,
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
        additional_special_tokens=list(SPECIAL),
    )
    wrapped.chat_template = CHAT_TEMPLATE
    return wrapped


def load_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """Read a saved tokenizer: weights that go on learning need the tokens that they know."""
    return PreTrainedTokenizerFast.from_pretrained(folder)
