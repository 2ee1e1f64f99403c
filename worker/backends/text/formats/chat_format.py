"""How one model marks its answers: its thinking and the format of its tool calls, told from its
chat template and its vocabulary."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from worker.backends.text.formats import harmony, json_calls, tagged_calls
from worker.backends.text.formats.library import library_format
from worker.backends.text.formats.syntax import REASONING, TEXT, ToolFormat, Transitions
from worker.backends.text.template_text import TOOLS, template_source, uses

_THINKING = (
    ("[THINK]", "[/THINK]"),  # Magistral
    ("<seed:think>", "</seed:think>"),
    ("<mm:think>", "</mm:think>"),  # MiniMax M3
    ("<|START_THINKING|>", "<|END_THINKING|>"),  # Cohere's Command A and R7B
)
"""Beside those that mlx_lm knows."""
_AROUND_TEXT = ("<|START_RESPONSE|>", "<|END_RESPONSE|>", "<|START_TEXT|>", "<|END_TEXT|>")
"""Cohere's marks around the text of an answer."""
_BY_TEMPLATE: tuple[tuple[Callable[[str], bool], ToolFormat], ...] = (
    (harmony.is_harmony, harmony.FORMAT),
    (lambda template: "[TOOL_CALLS]" in template, json_calls.MISTRAL),
    (lambda template: tagged_calls.DSML in template, tagged_calls.DSML_FORMAT),
    (lambda template: "<｜tool▁calls▁begin｜>" in template, tagged_calls.DEEPSEEK),
    (lambda template: "<seed:tool_call>" in template, tagged_calls.SEED),
    (lambda template: "<|START_ACTION|>" in template, json_calls.COHERE),
    (lambda template: "]<]minimax[>[<tool_call>" in template, tagged_calls.MINIMAX_M3),
    (lambda template: "<TOOLCALL>" in template, json_calls.NEMOTRON),
    (lambda template: "<|/tool_call|>" in template, json_calls.PHI),
    (lambda template: "<|tool_call|>" in template, json_calls.GRANITE),
)
_BY_VOCABULARY: tuple[tuple[str, ToolFormat], ...] = (
    ("[TOOL_CALLS]", json_calls.MISTRAL),
    ("<｜tool▁calls▁begin｜>", tagged_calls.DEEPSEEK),
    ("<seed:tool_call>", tagged_calls.SEED),
    ("<|START_ACTION|>", json_calls.COHERE),
    ("<|/tool_call|>", json_calls.PHI),
    ("<|tool_call|>", json_calls.GRANITE),
)


class Thinking(NamedTuple):
    """The marks of a model's thinking, and their tokens."""

    start: str
    end: str
    start_ids: tuple[int, ...] = ()
    end_ids: tuple[int, ...] = ()

    def is_open(self, ids: Sequence[int]) -> bool:
        """Whether these tokens end in the middle of it."""
        return _last(ids, self.start_ids) > _last(ids, self.end_ids)

    def is_open_in(self, text: str) -> bool:
        """The same of a prompt's text."""
        return text.rfind(self.start) > text.rfind(self.end)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatFormat:
    """How one model's answers are marked. ``transitions`` are those of an answer without tool
    calls, but for what a library brings; ``initial`` is the state that answers begin in."""

    thinking: Thinking | None = None
    tools: ToolFormat | None = None
    transitions: Transitions = field(default_factory=dict)
    initial: str | None = None
    is_harmony: bool = False
    around: tuple[str, ...] = ()
    """The marks around the text of an answer."""

    @classmethod
    def of(cls, tokenizer: Any) -> ChatFormat:
        """The format of a tokeniser's model; ``tokenizer`` is mlx_lm's wrapper."""
        template = template_source(tokenizer)
        vocabulary: Collection[str] = tokenizer.get_vocab()
        has_tools = uses(template, TOOLS)
        tools = _tool_format(tokenizer, template, vocabulary) if has_tools else None
        if harmony.is_harmony(template):
            return cls.harmony(tools)
        thinking = _thinking(tokenizer, vocabulary)
        around = [mark for mark in _AROUND_TEXT if mark in vocabulary]
        transitions = marked(thinking, [*tokenizer.structural_markers, *around])
        for state, edges in tokenizer.response_transitions.items():
            transitions.setdefault(state, []).extend(edges)
        return cls(
            thinking=thinking,
            tools=tools,
            transitions=transitions,
            initial=tokenizer.response_initial_state,
            around=tuple(around),
        )

    @classmethod
    def harmony(cls, tools: ToolFormat | None) -> ChatFormat:
        return cls(
            tools=tools,
            transitions=harmony.transitions(),
            initial=harmony.HEADER,
            is_harmony=True,
        )

    @property
    def thinks(self) -> bool:
        """Whether the model has a way to think before its answer."""
        return self.is_harmony or self.thinking is not None

    @property
    def marks_thinking(self) -> bool:
        """Whether thinking can be told from text."""
        return REASONING in self.transitions

    @property
    def thinking_end(self) -> str | None:
        """The mark that ends the thinking."""
        return next((mark for mark, _ in self.transitions.get(REASONING, ())), None)

    @property
    def answer_start(self) -> str:
        """What a prompt ends with whose answer is held to a schema: no room for thinking."""
        return harmony.FINAL if self.is_harmony else ""

    def own_marks(self) -> list[str]:
        """The marks of thinking and tool calls: they come back in a client's history. Harmony's
        don't: a history in harmony is taken apart."""
        if self.is_harmony:
            return []
        marks = [] if self.thinking is None else [self.thinking.start, self.thinking.end]
        marks += self.around
        if self.tools is not None:
            marks += [*self.tools.dropped, *self.tools.opening]
            for syntax in self.tools.syntaxes([]).values():
                marks += [syntax.start, *(mark for mark, _ in syntax.ends)]
        return [mark for mark in marks if mark]


def marked(thinking: Thinking | None, dropped: Iterable[str] = ()) -> Transitions:
    """Transitions into thinking and back; ``dropped`` are marks in the text that are no text."""
    transitions: Transitions = {}
    if thinking is not None:
        transitions = {TEXT: [(thinking.start, REASONING)], REASONING: [(thinking.end, TEXT)]}
    for mark in dropped:
        transitions.setdefault(TEXT, []).append((mark, TEXT))
    return transitions


_formats: WeakKeyDictionary[Any, ChatFormat] = WeakKeyDictionary()


def chat_format(tokenizer: Any) -> ChatFormat:
    """The format of a tokeniser's model; worked out once."""
    known = _formats.get(tokenizer)
    if known is None:
        known = _formats[tokenizer] = ChatFormat.of(tokenizer)
    return known


def _thinking(tokenizer: Any, vocabulary: Collection[str]) -> Thinking | None:
    if tokenizer.has_thinking:
        return Thinking(
            tokenizer.think_start,
            tokenizer.think_end,
            tuple(tokenizer.think_start_tokens),
            tuple(tokenizer.think_end_tokens),
        )
    for start, end in _THINKING:
        if start in vocabulary and end in vocabulary:
            ids = (tuple(tokenizer.encode(mark, add_special_tokens=False)) for mark in (start, end))
            return Thinking(start, end, *ids)
    return None


def _tool_format(tokenizer: Any, template: str, vocabulary: Collection[str]) -> ToolFormat:
    """The format of a model whose template takes tools. One of an unknown format may answer with
    calls in JSON, as most templates' instructions say."""
    for is_it, tools in _BY_TEMPLATE:
        if is_it(template):
            return tools
    if tokenizer.has_tool_calling:
        return library_format(tokenizer)
    for mark, tools in _BY_VOCABULARY:
        if mark in vocabulary:
            return tools
    if "<tool_call>" in template:
        return tagged_calls.CODER if "<function=" in template else json_calls.HERMES
    return json_calls.UNMARKED


def _last(ids: Sequence[int], wanted: tuple[int, ...]) -> int:
    """Where some tokens stand last; -1 if nowhere."""
    length = len(wanted)
    for start in range(len(ids) - length, -1, -1):
        if ids[start] == wanted[0] and tuple(ids[start : start + length]) == wanted:
            return start
    return -1
