"""The model's own byte-level BPE tokenizer and its chat template."""

from collections.abc import Iterator
from random import Random

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from .knowledge.text import normalise
from .recall import SLOTS, tell
from .skills import draw_exchange, made_up_word

PAD, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
ROLES = ("system", "user", "assistant", "tool")
CONTEXT = 4096
LARGEST_NUMBER = 100

# A message's content is a string or, as some clients send it, a list of parts of which the text parts count.
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' ~ message['role'] ~ '\\n' }}"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% elif message['content'] %}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }}{% endfor %}"
    "{% endif %}"
    "{{ '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def _texts(rng: Random, count: int) -> Iterator[str]:
    """Give the text to learn merges from.

    Values stated by the user are made up here, so that no name becomes a token of its own: the
    model has to copy names piece by piece, and copies unknown ones as well as common ones. Every
    number up to a hundred, with and without a space before it, does become one token, or sums and
    counting would work on torn numbers.
    """
    for number in range(LARGEST_NUMBER + 1):
        yield from [f"{number}", f" {number}"] * 400
    yield from [f"{role}\n" for role in ROLES] * 400
    for _ in range(count):
        exchange = draw_exchange(rng)
        yield exchange.question
        yield exchange.answer
        yield normalise(exchange.question)
        if rng.random() < 0.3:
            yield from tell(rng, rng.choice(list(SLOTS)), made_up_word(rng).capitalize())


def train_tokenizer(seed: int, vocabulary: int, count: int = 20_000) -> PreTrainedTokenizerFast:
    """Train the tokenizer on freshly drawn text."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[PAD, START, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(_texts(Random(seed), count), trainer)
    check_numbers(core)
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token=END,
        pad_token=PAD,
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    )
    wrapped.chat_template = CHAT_TEMPLATE
    return wrapped


def check_numbers(core: Tokenizer) -> None:
    """Make sure that each number up to a hundred is one token, alone and after a space."""
    for text in (f"{space}{number}" for number in range(LARGEST_NUMBER + 1) for space in ("", " ")):
        if len(core.encode(text).ids) != 1:
            raise ValueError(f"the vocabulary is too small: {text!r} is not a single token")
