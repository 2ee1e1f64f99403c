"""A last message of the assistant's goes on in its own words: the prompt ends with them, to the
character, in the turn that they stand in, and thinking is not begun anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.mlx.formats.format_support import TOOLS, chat
from tests.mlx.formats.template_support import FAMILIES, Family
from tests.mlx.formats.template_support import tokenizer_of as family_tokenizer
from tests.mlx.formats.thinking_templates import MODELS, OTHERS, Model, tokenizer_of, tokens_of
from wire.messages import ChatJob, Delta, Message, OutputFormat
from worker.backends.prompting.text import LmText
from worker.errors import WorkerError
from worker.sequence import Sequence
from worker.text_decoder import Output

every = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS.keys())
TEXTS = ["1, 2,", "  1, 2, ", "1.\n\n", "\n- one\n", "Ünï <|im_end|> {{ x }}"]
"""Beginnings that templates strip or that hold what looks like a control token."""
ASKED = Message(role="user", content="Count to five.")


def job_with(*messages: Message, **form: Any) -> ChatJob:
    job = chat(tools=())
    form = {"continue_final": True, **form}
    return job.model_copy(update={"messages": messages, "form": job.form.model_copy(update=form)})


def said(text: str, **more: Any) -> Message:
    return Message(role="assistant", content=text, **more)


def prompt(tokenizer: Any, *messages: Message, **form: Any) -> str:
    ids = LmText(tokenizer, 8192).encode(messages, OutputFormat(continue_final=True, **form))
    return str(tokenizer.decode(ids))


def answered(tokenizer: Any, job: ChatJob, written: str) -> Output:
    """What a reader gets when a model goes on with this."""
    sequence = Sequence(job)
    LmText(tokenizer, 8192).prepare(sequence)
    events = [e for token in tokens_of(tokenizer, written) for e in sequence.accept(token)]
    events += sequence.finish("stop")
    return Output.together(event for event in events if isinstance(event, Delta))


@every
@pytest.mark.parametrize("text", TEXTS)
def test_a_prompt_ends_with_the_last_words_and_opens_no_thinking(
    tmp_path: Path, model: Model, text: str
) -> None:
    tokenizer = tokenizer_of(tmp_path, model)
    rendered = prompt(tokenizer, ASKED, said(text))
    assert rendered.endswith(text)
    assert rendered.index("Count to five.") < rendered.rindex(text)
    # What stands before the words is what an answer's text has before it.
    marked = prompt(tokenizer, ASKED, said("probe"))
    assert rendered.removesuffix(text) == marked.removesuffix("probe")
    assert rendered.count("<|im_end|>") - text.count("<|im_end|>") <= 1
    told = answered(tokenizer, job_with(ASKED, said(text)), " 3, 4")
    assert told == Output(" 3, 4")


@every
def test_thinking_before_the_words_stays_closed(tmp_path: Path, model: Model) -> None:
    tokenizer = tokenizer_of(tmp_path, model)
    last = said("1, 2,", reasoning="Hm. Easy.")
    rendered = prompt(tokenizer, ASKED, last)
    assert rendered.endswith("1, 2,")
    if model is not MODELS["deepseek r1"]:  # Its template leaves thinking out.
        assert "Hm. Easy." in rendered
    assert answered(tokenizer, job_with(ASKED, last), " 3") == Output(" 3")


@every
def test_thinking_that_was_cut_goes_on(tmp_path: Path, model: Model) -> None:
    tokenizer = tokenizer_of(tmp_path, model)
    last = said("", reasoning="Hm. Ea")
    rendered = prompt(tokenizer, ASKED, last)
    assert rendered.endswith("Hm. Ea")
    told = answered(tokenizer, job_with(ASKED, last), f"sy.{model.end}{model.between}1, 2")
    assert (told.reasoning.rstrip("\n"), told.text) == ("sy.", "1, 2")


OWN = [name for name in MODELS if name not in ("gpt-oss", "muse spark", "kimi k3")]
"""Marks that are made of several control tokens are text in what clients send."""


@pytest.mark.parametrize("name", OWN)
def test_an_answer_in_the_models_own_marks_goes_on_where_it_was_written(
    tmp_path: Path, name: str
) -> None:
    """The native API tells answers unsplit; what a reader saw of one is what the model reads."""
    model = MODELS[name]
    tokenizer = tokenizer_of(tmp_path, model)
    text = LmText(tokenizer, 8192)
    fresh = text.encode([ASKED])
    end = model.end.strip("\n")
    closed = model.answer.index(end) + len(end)
    cuts = [closed, len(model.answer) - 1]
    if not model.opens:
        cuts.append(model.answer.index(model.thought) + 2)
    for cut in cuts:
        begun = model.answer[:cut]
        ids = text.encode([ASKED, said(begun)], OutputFormat(continue_final=True))
        assert ids == [*fresh, *tokens_of(tokenizer, begun)]


def test_a_mark_that_prompt_and_answer_both_begin_with_stands_once(tmp_path: Path) -> None:
    tokenizer = tokenizer_of(tmp_path, MODELS["qwen3 thinking"])
    rendered = prompt(tokenizer, ASKED, said("<think>\nHm. Ea"))
    assert rendered.endswith("<|im_start|>assistant\n<think>\nHm. Ea")
    off = '{"enable_thinking": false}'
    closed = prompt(
        tokenizer_of(tmp_path / "off", MODELS["qwen3"]),
        ASKED,
        said("<think>\nHm.\n</think>\n\n1,"),
        template_options=off,
    )
    assert closed.endswith("<|im_start|>assistant\n<think>\nHm.\n</think>\n\n1,")


def test_a_harmony_answer_as_it_was_written_is_taken_apart(tmp_path: Path) -> None:
    tokenizer = tokenizer_of(tmp_path, MODELS["gpt-oss"])
    raw = "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>1,"
    assert prompt(tokenizer, ASKED, said(raw)).endswith(f"<|start|>assistant{raw}")
    cut = "<|channel|>analysis<|message|>Hm. Ea"
    assert prompt(tokenizer, ASKED, said(cut)).endswith(f"<|start|>assistant{cut}")
    assert answered(tokenizer, job_with(ASKED, said(cut)), "sy.") == Output(reasoning="sy.")


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES.keys())
def test_every_template_lets_a_message_go_on(tmp_path: Path, family: Family) -> None:
    tokenizer = family_tokenizer(tmp_path, family)
    for text in TEXTS[:4]:
        assert prompt(tokenizer, ASKED, said(text)).endswith(text)


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("text", TEXTS)
def test_templates_that_strip_or_are_missing_keep_every_blank(
    tmp_path: Path, name: str, text: str
) -> None:
    tokenizer = family_tokenizer(tmp_path, Family(OTHERS[name], None))
    rendered = prompt(tokenizer, ASKED, said(text))
    assert rendered.endswith(f"assistant:{text}" if name == "strips" else f"assistant: {text}")


DROPS = "{%- for m in messages if m.role == 'user' -%}{{- m.content -}}{%- endfor -%}"
MOVES = "{%- for m in messages | sort(attribute='role') -%}{{- m.role + m.content -}}{%- endfor -%}"
TWICE = "{%- for m in messages -%}{{- m.content + m.content -}}{%- endfor -%}"


@pytest.mark.parametrize("template", [DROPS, MOVES, TWICE])
def test_a_template_without_a_place_for_the_words_is_refused(tmp_path: Path, template: str) -> None:
    tokenizer = family_tokenizer(tmp_path, Family(template, None))
    with pytest.raises(WorkerError) as refused:
        prompt(tokenizer, ASKED, said("1, 2,"))
    assert (refused.value.code, refused.value.param) == ("unsupported", "messages")
    assert "no place for a last message that goes on" in refused.value.message


def test_an_answer_that_goes_on_has_no_call_without_a_mark(tmp_path: Path) -> None:
    tokenizer = family_tokenizer(tmp_path, FAMILIES["llama 3"])
    call = '{"name": "clock", "parameters": {"zone": "UTC"}}'
    job = job_with(ASKED, said("The call is "), tools=TOOLS)
    assert answered(tokenizer, job, call) == Output(call)


def test_a_first_blank_of_what_follows_is_kept(tmp_path: Path) -> None:
    tokenizer = tokenizer_of(tmp_path, MODELS["qwen3"])
    assert answered(tokenizer, job_with(ASKED, said("1,")), " 2\n") == Output(" 2\n")


def test_other_conversations_of_the_same_form_end_as_usual(tmp_path: Path) -> None:
    """Prompts that are compared with it end with the user's words."""
    tokenizer = tokenizer_of(tmp_path, MODELS["qwen3"])
    assert prompt(tokenizer, ASKED).endswith("<|im_start|>assistant\n")
