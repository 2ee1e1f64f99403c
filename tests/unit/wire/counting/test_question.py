"""Questions to the process that counts prompts arrive as they were asked."""

from __future__ import annotations

import pytest

from tests.support.api_support import MODEL
from wire.counting import CountQuestion
from wire.messages import ChatJob, ImagePart, Message, OutputFormat, Sampling, TextPart

PICTURES = {"a" * 64: b"first\npicture", "b" * 64: b"", "c" * 64: b"\x00last"}


def question(images: dict[str, bytes]) -> CountQuestion:
    parts = [ImagePart(sha256=name, width=3, height=4) for name in images]
    job = ChatJob(
        job_id="count",
        owner="me",
        model_id=MODEL.id,
        model_revision=MODEL.revision,
        messages=(
            Message(role="system", content="two\nlines \u2028"),
            Message(role="user", content=(*parts, TextPart(text="what?"))),
        ),
        sampling=Sampling(seed=1, max_tokens=7),
        form=OutputFormat(truncation="disabled", template_options='{"enable_thinking": true}'),
        submitted_ms=0,
    )
    return CountQuestion(MODEL, job, images)


@pytest.mark.parametrize("images", [{}, PICTURES])
def test_a_question_arrives_as_it_was_asked(images: dict[str, bytes]) -> None:
    asked = question(images)
    assert CountQuestion.unpacked(asked.packed()) == asked


@pytest.mark.parametrize("payload", [b"", b"{}", b"\n", b'{"model": 1}\n'])
def test_anything_else_is_refused(payload: bytes) -> None:
    with pytest.raises(ValueError, match="validation error"):
        CountQuestion.unpacked(payload)
