"""Which requests ask for several answers, and the jobs that they become."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from api.chat.request import seed_of_choice
from api.errors import ApiError
from api.openai.batches.batch_lines import CHAT as CHAT_LINE
from api.openai.batches.batch_lines import COMPLETION, ENDPOINTS
from tests.support.openai_support import CHAT, COMPLETIONS, Api, body
from wire.messages import ChatJob


def jobs(api: Api, path: str = CHAT, **fields: Any) -> list[ChatJob]:
    """The jobs of an accepted request, in the order of its choices."""
    answer = api.client.post(path, json=body(path) | fields)
    assert answer.status_code == 200, answer.text
    seen = [job for job in api.worker.seen if isinstance(job, ChatJob)]
    api.worker.seen.clear()
    return seen


def derived(seed: int, number: int) -> int:
    digest = hashlib.sha256(b"%d:%d" % (seed, number)).digest()
    return int(digest[:8].hex(), 16) // 2


def test_each_answer_has_a_seed_of_its_own_and_the_first_the_requests(api: Api) -> None:
    several = jobs(api, n=4, seed=7)
    assert [job.sampling.seed for job in several] == [
        7,
        derived(7, 1),
        derived(7, 2),
        derived(7, 3),
    ]
    assert len({job.job_id for job in several}) == 4
    assert {job.group for job in several} == {several[0].job_id}
    assert jobs(api, n=2, seed=-7)[1].sampling.seed == derived(-7, 1)
    plain = several[0].model_copy(update={"group": None})
    [one] = jobs(api, seed=7)
    same = {"job_id": plain.job_id, "submitted_ms": plain.submitted_ms}
    assert one.model_copy(update=same) == plain


def test_the_same_seed_gives_the_same_seeds_and_none_gives_others() -> None:
    assert seed_of_choice(0, 0) == 0
    seeds = [seed_of_choice(seed, number) for seed in (0, 1, 2**63 - 1) for number in range(16)]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_an_unseeded_request_has_other_answers_each_time(api: Api) -> None:
    first, second = jobs(api, n=2), jobs(api, n=2)
    assert len({job.sampling.seed for job in (*first, *second)}) == 4


def test_texts_are_prompts_of_their_own(api: Api) -> None:
    several = jobs(api, COMPLETIONS, prompt=["one", "two"], seed=3, n=2)
    assert [job.messages[0].content for job in several] == ["one", "one", "two", "two"]
    # What each would say alone with this seed.
    assert [job.sampling.seed for job in several] == [3, derived(3, 1)] * 2
    assert [job.group for job in several] == [several[0].job_id] * 2 + [several[2].job_id] * 2
    alike = jobs(api, COMPLETIONS, prompt=["same", "same"])
    assert len({job.sampling.seed for job in alike}) == 2
    assert {job.group for job in alike} == {None}


@pytest.mark.parametrize(
    ("prompt", "ids"),
    [
        ([5, 0, 7], [(5, 0, 7)]),
        ([[5], [6, 7]], [(5,), (6, 7)]),
        ([5.0, 0, 7.0], [(5, 0, 7)]),
        ([[5], [6.0, 7]], [(5,), (6, 7)]),
    ],
)
def test_token_ids_are_prompts(api: Api, prompt: Any, ids: list[Any]) -> None:
    several = jobs(api, COMPLETIONS, prompt=prompt)
    assert [job.form.prompt_ids for job in several] == ids
    assert {type(token) for job in several for token in job.form.prompt_ids} == {int}
    assert {(job.form.raw, job.messages[0].content) for job in several} == {(True, "")}


def test_a_prompt_of_many_token_ids_is_no_long_body(api: Api) -> None:
    ids = list(range(1000, 2000)) * 2
    assert jobs(api, COMPLETIONS, prompt=[ids[:2000]] * 20)[19].form.prompt_ids == tuple(ids)


@pytest.mark.parametrize(
    ("sent", "param"),
    [
        ({"n": 0}, "n"),
        ({"n": 17}, "n"),
        ({"n": True}, "n"),
        ({"n_cmpl": 2}, "n_cmpl"),
        ({"best_of": 4, "n": 2}, "best_of"),
    ],
)
def test_other_numbers_of_answers_are_refused_by_name(
    api: Api, sent: dict[str, Any], param: str
) -> None:
    for path in (CHAT, COMPLETIONS):
        assert api.refused(400, path, **sent)["param"] == param


@pytest.mark.parametrize(
    "prompt",
    [
        None,
        1,
        [],
        "",
        [""],
        ["a", ""],
        ["a", 1],
        [1, "a"],
        [1, True],
        [1.5],
        [1, 1.5],
        [float(2**31)],
        [1.0, True],
        [-1],
        [2**31],
        [[]],
        [[1], []],
        [[1], "a"],
        [["a"]],
        [[1, "a"]],
        ["\0"],
        {"text": "a"},
        ["a"] * 65,
    ],
)
def test_what_is_no_prompt_is_refused_by_name(api: Api, prompt: Any) -> None:
    assert api.refused(400, COMPLETIONS, prompt=prompt)["param"] == "prompt"


def test_a_request_has_128_answers_at_most(api: Api) -> None:
    assert len(jobs(api, COMPLETIONS, prompt=["a"] * 8, n=16)) == 128
    refusal = api.refused(400, COMPLETIONS, prompt=["a"] * 43, n=3)
    assert (refusal["param"], "128 answers" in refusal["message"]) == ("n", True)


@pytest.mark.parametrize(
    ("url", "sent", "param"),
    [
        (CHAT_LINE, {"messages": [{"role": "user", "content": "Hi"}], "n": 2}, "n"),
        (COMPLETION, {"prompt": "a", "n": 2}, "n"),
        (COMPLETION, {"prompt": ["a", "b"]}, "prompt"),
    ],
)
def test_a_line_of_a_batch_has_one_answer(url: str, sent: dict[str, Any], param: str) -> None:
    read = ENDPOINTS[url].read
    row = {"method": "POST", "url": url, "body": {"model": "model-1"} | sent}
    with pytest.raises(ApiError) as refused:
        read(row)
    assert (refused.value.code, refused.value.param) == ("unsupported", param)


def test_a_line_of_a_batch_may_be_token_ids() -> None:
    row = {"method": "POST", "url": COMPLETION, "body": {"prompt": [1, 2], "n": 1}}
    assert ENDPOINTS[COMPLETION].read(row)[1].form.prompt_ids == (1, 2)
