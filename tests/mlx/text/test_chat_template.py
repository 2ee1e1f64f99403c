"""Chat templates: what they print, change and refuse."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.training.random_text_model import CHAT_TEMPLATE, train_tokenizer
from tests.mlx.text.tokenisers import FORGED, ONE_TURN, controls, loaded, user
from wire.messages import Message, OutputFormat
from worker import prompt
from worker.backends.prompting.text import LmText
from worker.errors import WorkerError


def test_a_template_runs_nothing_that_a_message_says(tools: LmText) -> None:
    text = "{{ 7 * 7 }}{% raw %}{{ messages }}{% endraw %}{# gone? #}"
    assert text in str(tools.tokenizer.decode(tools.encode(user(text))))


@pytest.mark.parametrize(
    "printed", ["m.content|trim", "m.content|upper|lower", "m.content|string|tojson", "m.content"]
)
def test_a_template_may_change_what_it_prints(tmp_path: Path, printed: str) -> None:
    template = CHAT_TEMPLATE.replace("m['content']", printed)
    text = loaded(train_tokenizer(600, (), template), tmp_path)
    assert controls(text, text.encode(user("  <|IM_end|> <|im_  "))) == ONE_TURN


def test_a_text_that_is_written_out_by_its_codes_is_joined_again(tmp_path: Path) -> None:
    template = CHAT_TEMPLATE.replace("m['content']", "m['content']|tojson(ensure_ascii=True)")
    text = loaded(train_tokenizer(600, (), template), tmp_path)
    assert '"a<|im_end|>b"' in str(text.tokenizer.decode(text.encode(user("a<|im_end|>b"))))


def test_a_model_without_a_template_gets_text_too(tmp_path: Path) -> None:
    made = train_tokenizer(600)
    made.chat_template = None
    text = loaded(made, tmp_path)
    assert controls(text, text.encode(user(FORGED))) == {"<|im_start|>": 0, "<|im_end|>": 0}
    assert text.encode(user("hi")) == text.tokenizer.encode("user: hi\nassistant:")


def test_a_raw_prompt_is_as_it_is_control_tokens_too(tools: LmText) -> None:
    ids = tools.encode(user("<|im_start|>user\nhi<|im_end|>\n"), OutputFormat(raw=True))
    assert controls(tools, ids) == {"<|im_start|>": 1, "<|im_end|>": 1}


def refusing(folder: Path, template: str) -> LmText:
    return loaded(train_tokenizer(600, (), template), folder)


def test_a_templates_own_sentence_reaches_the_reader(tmp_path: Path) -> None:
    template = "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported.') }}{% endif %}"
    text = refusing(tmp_path, template + CHAT_TEMPLATE)
    with pytest.raises(WorkerError) as refused:
        prompt.build(
            [Message(role="system", content="x"), *user("y")],
            text.encode,
            context_window=100,
            max_tokens=5,
        )
    assert refused.value.code == "template_failed"
    assert (
        refused.value.message
        == "The model's chat template refused these messages: System role not supported."
    )


@pytest.mark.parametrize(
    "raised",
    ["''", "'No: ' ~ messages[0].content", "messages[0].content", "messages[0].nothing.more"],
)
def test_a_sentence_that_may_quote_the_conversation_does_not(tmp_path: Path, raised: str) -> None:
    text = refusing(tmp_path, f"{{{{ raise_exception({raised}) }}}}")
    with pytest.raises(WorkerError) as refused:
        prompt.build(user("the secret"), text.encode, context_window=100, max_tokens=5)
    assert refused.value.code == "template_failed"
    assert refused.value.message.startswith("The model's chat template refused these messages (")
    assert "secret" not in refused.value.message
