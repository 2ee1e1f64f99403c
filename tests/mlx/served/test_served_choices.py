"""Several answers from a real model through the whole service: the same as one by one, also when
its worker is killed."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import psutil
import pytest
from openai import BadRequestError, OpenAI
from tokenizers import Tokenizer

from api.chat.request import seed_of_choice
from scripts.training.random_text_model import make
from tests.support.service_support import Running

SEED, TOKENS = 5, 150
FIELDS: Any = {
    "model": "random",
    "messages": [{"role": "user", "content": "What is a queue?"}],
    "temperature": 1.0,
}


def said(client: OpenAI, **fields: Any) -> list[str]:
    answer = client.chat.completions.create(**FIELDS | {"max_tokens": TOKENS} | fields)
    return [choice.message.content or "" for choice in answer.choices]


def test_eight_answers_are_those_of_eight_requests(client: OpenAI) -> None:
    several = said(client, n=8, seed=SEED)
    assert several == [said(client, seed=seed_of_choice(SEED, i))[0] for i in range(8)]
    assert len(set(several)) == 8


def test_all_go_on_behind_a_killed_worker(running: Running, client: OpenAI) -> None:
    texts = ["", "", "", ""]
    stream = client.chat.completions.create(
        **FIELDS, max_tokens=TOKENS, n=4, seed=SEED, stream=True
    )
    for number, chunk in enumerate(stream):
        if number == 40:
            children = psutil.Process(running.process.pid).children()
            [worker] = [child for child in children if child.cmdline()[-1] == "worker"]
            worker.send_signal(signal.SIGKILL)
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
    assert texts == said(client, n=4, seed=SEED)


def test_a_models_own_token_ids_are_continued_and_others_refused(
    client: OpenAI, tmp_path: Path
) -> None:
    file = make(tmp_path / "same") / "tokenizer.json"
    ids = Tokenizer.from_file(str(file)).encode("Once upon a time").ids
    fields: Any = {"model": "random", "max_tokens": 20, "seed": SEED}
    create = client.completions.create
    text = create(prompt="Once upon a time", **fields)
    several = create(prompt=[ids, ids], **fields)
    assert [choice.text for choice in several.choices] == [text.choices[0].text] * 2
    assert text.usage is not None
    assert several.usage is not None
    assert several.usage.prompt_tokens == 2 * text.usage.prompt_tokens == 2 * len(ids)
    with pytest.raises(BadRequestError, match="not in the model's vocabulary") as refused:
        create(prompt=[ids, [10**6]], **fields)
    assert refused.value.param == "prompt"
