"""A chat that comes in beside running ones is read before their next step, and waits for none with
its first token."""

from __future__ import annotations

from tests.mlx.conftest import Bench

GREEDY = {"temperature": 0.0, "top_p": 1.0, "repetition_penalty": 0.0}
QUESTIONS = ("a first question", "another one", "and a third")


def test_the_first_token_comes_with_the_step_in_which_the_prompt_has_been_read(
    bench: Bench,
) -> None:
    """Also of a chat that joins others, which get one token in that step, as in each."""
    expected = []
    for text in QUESTIONS:
        expected.append(bench.answer(text, **GREEDY, max_tokens=12))
        bench.forget()
    chats = [bench.chat(text, **GREEDY, max_tokens=99, ignore_eos=True) for text in QUESTIONS]
    for number, chat in enumerate(chats):
        bench.start(chat)
        is_read = False
        while not is_read:
            step = bench.backend.step()
            is_read = any(read == total - 1 for _, read, total in step.prefill)
            for token in step.tokens:
                token.sequence.accept(token.token_id)
            got = chats[: number + 1] if is_read else chats[:number]
            assert [token.sequence for token in step.tokens] == got
    bench.run()
    said = [chat.generated[: len(one)] for chat, one in zip(chats, expected, strict=True)]
    assert said == expected
