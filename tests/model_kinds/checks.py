"""What the service must do with every kind of model, one check a promise.

Each check returns the failures it found, as phrases.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from tests.model_kinds import conversations
from tests.model_kinds.chats import ANSWER, Chats, text_of, widest_batch
from tests.model_kinds.conversations import assistant, question, system, unequal, user
from tests.model_kinds.references.text import Kept, TextReference, kept, reused
from tests.model_kinds.tokenizer import Template
from wire.messages import Message
from worker.backends.batching import kv_cache
from worker.backends.prompting.counter import open_counter
from worker.errors import WorkerError

AT_ONCE = 6
CHATS_OF_ONE_SYSTEM = 5
FEW = 4
"""Tokens of answers that only show whether the cache was right."""
CLEAR_QUANTISED = {8: 0.05, 4: 0.5}
"""What counts as a clear lead where keys and values are rounded: a difference in the last bit can
move one to the next step."""

CLEAR_8 = 0.2
"""The same between a cache of 8 bits and a plain one. One answer of several may be another: in
models of experts, rounding can send a token to another one."""


class Case:
    """One kind's folders, and the models loaded from them.

    ``library`` is what loads a folder in the library that is compared with.
    """

    def __init__(
        self,
        folder_of: Callable[[Template], Path],
        library: Callable[[Path], TextReference] = TextReference,
        *,
        reuses: bool = True,
        one_picture: bool = False,
    ) -> None:
        """``reuses``: whether a prompt's beginning can be used again at all; ``one_picture``:
        whether a prompt has room for one picture alone."""
        self._reuses, self.one_picture = reuses, one_picture
        self._folder_of = folder_of
        self._library = library
        self._references: dict[Template, TextReference] = {}
        self._chats: dict[tuple[Template, bool], Chats] = {}
        self._quantised: dict[tuple[int, bool], Chats | WorkerError] = {}

    def reference(self, template: Template = "A") -> TextReference:
        if template not in self._references:
            self._references[template] = self._library(self._folder_of(template))
        return self._references[template]

    def chats(self, template: Template = "A", *, remembers: bool) -> Chats:
        """The service's model; ``remembers``: with a prompt cache."""
        if (template, remembers) not in self._chats:
            folder = self._folder_of(template)
            self._chats[template, remembers] = Chats(folder, remembers=remembers)
        return self._chats[template, remembers]

    def least(self, earlier: list[Kept], prompt: list[int], template: Template = "A") -> int:
        """How many tokens of a prompt must come from the cache after these chats."""
        if not self._reuses:
            return 0
        return reused(earlier, prompt, can_be_cut=self.reference(template).can_be_cut)

    def forget(self) -> None:
        """Load again what the service has loaded: a check that raised may have left it in any
        state."""
        self._chats.clear()
        self._quantised.clear()

    def quantised(self, bits: Literal[4, 8], *, remembers: bool = False) -> Chats:
        """The same with a quantised key-value cache. Raises WorkerError where that is refused."""
        if (bits, remembers) not in self._quantised:
            try:
                made = Chats(self._folder_of("A"), kv=bits, remembers=remembers)
            except WorkerError as error:
                self._quantised[bits, remembers] = error
            else:
                self._quantised[bits, remembers] = made
        found = self._quantised[bits, remembers]
        if isinstance(found, WorkerError):
            raise found
        return found


def prompts(case: Case) -> list[str]:
    """The prompt is the tokens that mlx_lm makes of the same messages."""
    chats, reference, failures = case.chats(remembers=False), case.reference(), []
    said = [system("prompts"), question(1), assistant("yes."), question(2)]
    for messages in (unequal(1)[0], said):
        sequence = chats.sequence(messages)
        chats.backend.prepare(sequence)
        if sequence.prompt_ids != reference.prompt(messages):
            failures.append(f"a prompt of {len(messages)} messages has other tokens")
    return failures


def counted(case: Case) -> list[str]:
    """A prompt has as many tokens where it is counted without the weights."""
    said = [system("counted"), question(1), assistant("yes."), question(2)]
    templates: list[Template] = ["A", "B", "C"]
    found = {
        f"template {template}, {len(messages)} messages": miscounted(case, messages, template)
        for template in templates
        for messages in (unequal(1)[0], said)
    }
    return [f"{name}: {why}" for name, why in found.items() if why]


def miscounted(case: Case, messages: list[Message], template: Template = "A") -> str:
    """How the count of a prompt differs from its tokens; empty if it doesn't."""
    chats = case.chats(template, remembers=False)
    sequence = chats.sequence(messages)
    chats.backend.prepare(sequence)
    counter = open_counter(chats.record)
    tokens = counter.count(sequence.job, sequence.images)
    right = sequence.usage.prompt_tokens
    return "" if tokens == right else f"{tokens} tokens in place of {right}"


def alone(case: Case) -> list[str]:
    """A chat alone says what mlx_lm says."""
    reference, chats = case.reference(), case.chats(remembers=False)
    found = [
        (i, reference.differs(messages, chats.answered(messages).generated, right))
        for i, messages in enumerate(unequal(3))
        for right in [reference.answer(messages)]
    ]
    return [f"chat {i}: {why}" for i, why in found if why]


def at_once(case: Case) -> list[str]:
    """Six chats whose prompts have unequal lengths say what each says alone; two join late."""
    reference, chats = case.reference(), case.chats(remembers=False)
    asked = unequal(AT_ONCE)
    running = [chats.sequence(messages) for messages in asked]
    chats.start(*running[:4])
    chats.run(until=lambda: len(running[0].generated) >= 5)
    chats.start(*running[4:])
    chats.run()
    found = [
        (i, reference.differs(messages, sequence.generated, reference.answer(messages)))
        for i, (messages, sequence) in enumerate(zip(asked, running, strict=True))
    ]
    return [f"chat {i}: {why}" for i, why in found if why]


def batches(case: Case) -> int:
    """How many chats the model computes in one forward pass, of three that run at once."""
    chats = case.chats(remembers=False)
    with widest_batch(case.reference().model) as widest:
        chats.start(*(chats.sequence(messages, tokens=8) for messages in unequal(3)))
        chats.run()
    return widest()


def turns(case: Case, template: Template) -> list[str]:
    """Four turns reuse at least what mlx_lm.server does, and say what a cold start says."""
    reference, chats = case.reference(template), case.chats(template, remembers=True)
    messages, earlier, failures = [system(f"turns {template}")], list[Kept](), []
    for turn in range(1, conversations.TURNS + 1):
        messages.append(question(turn))
        sequence = chats.answered(messages)
        if turn > 1:
            least = case.least(earlier, sequence.prompt_ids, template)
            failures += _told(f"turn {turn}", sequence.cached_tokens, least)
            why = reference.differs(messages, sequence.generated, reference.answer(messages))
            failures += [f"turn {turn}: {why}"] if why else []
        earlier.append(kept(reference, messages, sequence.prompt_ids, sequence.generated))
        said = text_of(sequence.generated)
        # All that a model of template B has written is thinking, so far.
        messages.append(assistant(f"{said}</think>so it is." if template == "B" else said))
    return failures


def regenerated(case: Case) -> list[str]:
    """The same conversation once more reads one token."""
    messages = [system("regenerated"), question(1), assistant("yes."), question(2)]
    return _second(case, messages, messages)


def edited(case: Case) -> list[str]:
    """A last message that is edited reuses the turns before it."""
    chats = case.chats(remembers=True)
    first = [system("edited"), question(1)]
    answer = chats.answered(first)
    before = [*first, assistant(text_of(answer.generated))]
    known = kept(case.reference(), first, answer.prompt_ids, answer.generated)
    return _second(
        case, [*before, user("and how is that?")], [*before, user("and how was it?")], known
    )


def shared(case: Case) -> list[str]:
    """Five chats with one system prompt read it once."""
    chats, reference, failures = case.chats(remembers=True), case.reference(), []
    earlier: list[Kept] = []
    for i in range(CHATS_OF_ONE_SYSTEM):
        messages = [system("shared"), user(f"{i * 7} and what then?")]
        sequence = chats.answered(messages, tokens=FEW)
        least = case.least(earlier, sequence.prompt_ids)
        failures += _told(f"chat {i + 1}", sequence.cached_tokens, least)
        why = reference.differs(messages, sequence.generated, reference.answer(messages, FEW))
        failures += [f"chat {i + 1}: {why}"] if why else []
        earlier.append(kept(reference, messages, sequence.prompt_ids, sequence.generated))
    return failures


def continued(case: Case) -> list[str]:
    """An answer that was cut by a crash goes on as it would have without."""
    chats, reference, failures = case.chats(remembers=False), case.reference(), []
    messages = unequal(4)[3]
    right = reference.answer(messages)
    for cut in (1, ANSWER // 2):
        rest = chats.answered(messages, emitted=tuple(right[:cut]))
        why = reference.differs(messages, [*right[:cut], *rest.generated], right)
        failures += [f"cut after {cut}: {why}"] if why else []
    return failures


def quantised(case: Case, bits: Literal[4, 8]) -> list[str]:
    """With a quantised cache, a chat says with others, after a crash and behind a prompt that was
    read before what it says alone, which in 8 bits is what it says with a plain one; refused is
    only what mlx_lm can't run either."""
    reference = case.reference()
    try:
        chats = case.quantised(bits)
    except WorkerError as refusal:
        return [f"refused: {refusal}"] if reference.can_quantise(bits) else []
    asked, clear = unequal(4), CLEAR_QUANTISED[bits]
    singly = [chats.answered(messages).generated for messages in asked]
    told = _as_plain(reference, asked, singly) if bits == 8 else []
    together = [chats.sequence(messages) for messages in asked]
    chats.start(*together)
    chats.run()
    found = [(f"chat {i}", asked[i], together[i].generated, singly[i]) for i in range(len(asked))]
    for cut in (1, ANSWER // 2):
        rest = chats.answered(asked[3], emitted=tuple(singly[3][:cut]))
        found.append((f"cut after {cut}", asked[3], [*singly[3][:cut], *rest.generated], singly[3]))
    again = [*asked[0], assistant(text_of(singly[0])), question(2)]
    remembering = case.quantised(bits, remembers=True)
    first, second = remembering.answered(asked[0]), remembering.answered(again)
    found.append(("second", again, second.generated, chats.answered(again).generated))
    earlier = [kept(reference, asked[0], first.prompt_ids, first.generated)]
    told += [(name, reference.differs(said, one, other, clear)) for name, said, one, other in found]
    return [
        *_told("second", second.cached_tokens, case.least(earlier, second.prompt_ids)),
        *(f"{name}: {why}" for name, why in told if why),
    ]


def _as_plain(
    reference: TextReference, asked: list[list[Message]], answers: list[list[int]]
) -> list[tuple[str, str | None]]:
    """Where more than one answer with 8 bits is clearly not that of a plain cache."""
    found = [
        (f"plain {i}", reference.differs(messages, answer, reference.answer(messages), CLEAR_8))
        for i, (messages, answer) in enumerate(zip(asked, answers, strict=True))
    ]
    return found if sum(why is not None for _, why in found) > 1 else []


def quantises_all(case: Case) -> bool:
    """Whether all layers that hold every token are quantised. Raises WorkerError if none is."""
    layers = case.quantised(8).backend._model.caches.new()  # type: ignore[attr-defined]
    return all(type(leaf).__name__ != "KVCache" for leaf in kv_cache.leaves(layers))


def _second(case: Case, first: list[Message], second: list[Message], *before: Kept) -> list[str]:
    """Failures of a conversation that follows another one."""
    chats, reference = case.chats(remembers=True), case.reference()
    one = chats.answered(first)
    earlier = [*before, kept(reference, first, one.prompt_ids, one.generated)]
    two = chats.answered(second)
    least = case.least(earlier, two.prompt_ids)
    failures = _told("second", two.cached_tokens, least)
    why = reference.differs(second, two.generated, reference.answer(second))
    return [*failures, *([f"second: {why}"] if why else [])]


def _told(name: str, cached: int, least: int) -> list[str]:
    return [f"{name}: {cached} tokens cached, {least} expected"] if cached < least else []
