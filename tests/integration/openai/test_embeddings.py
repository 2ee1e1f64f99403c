"""Vectors and scores by the official client and by LangChain's, against a running service."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import httpx
import openai
import pytest
from langchain_openai import OpenAIEmbeddings

from tests.integration.openai.batch_service import ENDED, wait
from tests.support.openai_service import Service
from wire import keys
from worker.backends.pooling.echo import PROMPTS, vector

MODEL = "echo-embeddings"


def post(service: Service, path: str, body: dict[str, Any], **headers: str) -> httpx.Response:
    sent = {"model": MODEL, **body}
    return httpx.post(f"{service.url}/{path}", json=sent, headers=headers, timeout=60)


def refused(service: Service, path: str, **body: Any) -> tuple[int, str, str | None]:
    answer = post(service, path, body)
    error = answer.json()["error"]
    return answer.status_code, error["code"], error["param"]


def dot(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


def test_vectors_come_in_the_order_of_the_texts_and_both_encodings(service: Service) -> None:
    """The client asks for base64 unless it is told otherwise."""
    texts = ["first", "second text", "third"]
    answer = service.client.embeddings.create(model=MODEL, input=texts, user="ann")
    assert [row.embedding for row in answer.data] == [
        pytest.approx(vector(text), abs=1e-6) for text in texts
    ]
    assert [row.index for row in answer.data] == [0, 1, 2]
    tokens = sum(map(len, texts))
    assert (answer.usage.prompt_tokens, answer.usage.total_tokens) == (tokens, tokens)

    floats = post(service, "embeddings", {"input": "first"}).json()["data"][0]["embedding"]
    packed = post(service, "embeddings", {"input": "first", "encoding_format": "base64"})
    sent = base64.b64decode(packed.json()["data"][0]["embedding"])
    assert list(struct.unpack("<8f", sent)) == floats


def test_2048_texts_are_one_request_and_2049_too_many(service: Service) -> None:
    texts = [f"text {number}" for number in range(2048)]
    answer = service.client.embeddings.create(model=MODEL, input=texts)
    assert [row.embedding for row in answer.data[::500]] == [
        pytest.approx(vector(text), abs=1e-6) for text in texts[::500]
    ]
    with pytest.raises(openai.BadRequestError) as caught:
        service.client.embeddings.create(model=MODEL, input=[*texts, "one more"])
    assert caught.value.param == "input"


def test_shorter_vectors_are_cut_and_normalised(service: Service) -> None:
    cut = post(service, "embeddings", {"input": "x", "dimensions": 3}).json()["data"][0]
    head = vector("x")[:3]
    length = dot(head, head) ** 0.5
    assert cut["embedding"] == pytest.approx([number / length for number in head], abs=1e-6)


def test_a_prompt_of_the_models_begins_the_texts(service: Service) -> None:
    answer = post(service, "embeddings", {"input": "x", "prompt_name": "query"}).json()
    assert answer["data"][0]["embedding"] == pytest.approx(vector(PROMPTS["query"] + "x"), abs=1e-6)


def test_documents_are_ranked_by_the_cosine_with_the_query(service: Service) -> None:
    documents = ["one", "two", {"text": "three"}, "four"]
    answer = post(
        service,
        "rerank",
        {"query": "q", "documents": documents, "top_n": 3, "return_documents": True},
    ).json()
    texts = ["one", "two", "three", "four"]
    query = vector(PROMPTS["query"] + "q")
    scores = [dot(query, vector(PROMPTS["document"] + text)) for text in texts]
    order = sorted(range(4), key=lambda number: -scores[number])[:3]
    assert [row["index"] for row in answer["results"]] == order
    assert [row["document"]["text"] for row in answer["results"]] == [texts[n] for n in order]
    assert [row["relevance_score"] for row in answer["results"]] == pytest.approx(
        [scores[n] for n in order], abs=1e-6
    )
    # The query's tokens are counted once.
    prompts = len(PROMPTS["query"] + "q") + sum(len(PROMPTS["document"] + t) for t in texts)
    assert answer["usage"]["total_tokens"] == prompts


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"input": [1, 2]}, (400, "unsupported", "input")),
        ({"input": [[1, 2], [3]]}, (400, "unsupported", "input")),
        ({"input": ""}, (400, "invalid_request", "input")),
        ({"input": ["a", ""]}, (400, "invalid_request", "input")),
        ({"input": []}, (400, "invalid_request", "input")),
        ({"input": ["fits", "x" * 5000]}, (400, "context_length_exceeded", "input[1]")),
        ({"input": "x", "dimensions": 9}, (400, "unsupported", "dimensions")),
        ({"input": "x", "dimensions": 0}, (400, "invalid_request", "dimensions")),
        ({"input": "x", "encoding_format": "hex"}, (400, "invalid_request", "encoding_format")),
        ({"input": "x", "prompt_name": "none"}, (400, "invalid_request", "prompt_name")),
        ({"input": "x", "input_type": "query"}, (400, "unsupported", "input_type")),
        ({"input": "x", "model": "demo-chat"}, (400, "unsupported", "model")),
        (
            {"input": "x", "truncate_prompt_tokens": 0},
            (400, "invalid_request", "truncate_prompt_tokens"),
        ),
    ],
)
def test_what_cant_be_embedded_is_refused_by_name(
    service: Service, fields: dict[str, Any], expected: tuple[int, str, str]
) -> None:
    assert refused(service, "embeddings", **fields) == expected


def test_what_cant_be_ranked_is_refused_by_name(service: Service) -> None:
    asked = {"query": "q", "documents": ["d"]}
    for fields, expected in (
        ({"documents": []}, (400, "invalid_request", "documents")),
        ({"query": ""}, (400, "invalid_request", "query")),
        ({"instruction": "be strict"}, (400, "unsupported", "instruction")),
        ({"rank_fields": ["a"]}, (400, "unsupported", "rank_fields")),
        ({"query": "q" * 5000}, (400, "context_length_exceeded", "query")),
        ({"model": "demo-chat"}, (400, "unsupported", "model")),
    ):
        assert refused(service, "rerank", **{**asked, **fields}) == expected


def test_a_long_text_is_cut_for_who_asks(service: Service) -> None:
    long = "x" * 5000
    for fields, kept in (({"truncate": True}, 4096), ({"truncate_prompt_tokens": 7}, 7)):
        answer = post(service, "embeddings", {"input": long, **fields}).json()
        assert answer["usage"]["prompt_tokens"] == kept
        assert answer["data"][0]["embedding"] == pytest.approx(vector(long[:kept]), abs=1e-6)


def test_a_chat_to_an_embedding_model_is_refused_and_never_goes_there_by_itself(
    service: Service,
) -> None:
    with pytest.raises(openai.BadRequestError, match="/v1/embeddings") as caught:
        service.chat("hi", model=MODEL)
    assert caught.value.param == "model"
    service.client.embeddings.create(model=MODEL, input="the model used last")
    assert service.chat("hi", model="default", max_tokens=2).model == "demo-chat"
    # And without a name texts go to the embedding model.
    assert post(service, "embeddings", {"model": None, "input": "x"}).json()["model"] == MODEL


def test_models_say_what_they_can_do(service: Service) -> None:
    told = {row["id"]: row["capabilities"] for row in service.json("/v1/models")["data"]}
    assert told == {"demo-chat": ["chat", "tools"], MODEL: ["embeddings", "rerank"]}
    rows = {row["name"]: row for row in service.json("/api/engine/models")}
    assert rows[MODEL]["capabilities"] == ["embeddings", "rerank"]
    assert (rows[MODEL]["dimensions"], rows["demo-chat"]["dimensions"]) == (8, None)


def test_unknown_fields_are_named_and_known_ones_without_effect_are_not(service: Service) -> None:
    answer = post(service, "embeddings", {"input": "x", "user": "u", "wat": 1, "request_id": "r"})
    assert answer.headers["X-Ignored-Fields"] == "wat"


def test_a_result_is_dropped_once_it_is_sent_and_kept_for_a_key(service: Service) -> None:
    sent = post(service, "embeddings", {"input": "x"})
    assert not service.stack.redis.exists(keys.log(sent.headers["X-Job-Id"]))

    first = post(service, "embeddings", {"input": "x"}, **{"Idempotency-Key": "k"})
    again = post(service, "embeddings", {"input": "x"}, **{"Idempotency-Key": "k"})
    assert first.headers["X-Job-Id"] == again.headers["X-Job-Id"]
    assert first.json()["data"] == again.json()["data"]
    other = post(service, "embeddings", {"input": "y"}, **{"Idempotency-Key": "k"})
    assert other.status_code == 409


def test_langchains_embeddings_work_with_texts_and_say_how_without(service: Service) -> None:
    common: Any = {"base_url": service.url, "api_key": "none", "model": MODEL}
    texts = OpenAIEmbeddings(check_embedding_ctx_length=False, **common)
    assert texts.embed_documents(["a", "b"]) == [
        pytest.approx(vector(text), abs=1e-6) for text in ("a", "b")
    ]


def batch_rows(service: Service, endpoint: Any, lines: list[dict[str, Any]]) -> dict[str, Any]:
    """Every line's response, by its custom_id."""
    files, batches = service.client.files, service.client.batches
    text = "".join(json.dumps(line) + "\n" for line in lines)
    file = files.create(file=("lines.jsonl", text.encode()), purpose="batch")
    made = batches.create(input_file_id=file.id, endpoint=endpoint, completion_window="24h")
    ended = wait(lambda: (b := batches.retrieve(made.id)).status in ENDED and b)
    assert ended.status == "completed"
    results = [ended.output_file_id, ended.error_file_id]
    rows = [
        json.loads(row) for one in results if one for row in files.content(one).text.splitlines()
    ]
    return {row["custom_id"]: row["response"] for row in rows}


def of_batch(name: str, url: str, **body: Any) -> dict[str, Any]:
    return {"custom_id": name, "method": "POST", "url": url, "body": {"model": MODEL, **body}}


def test_both_are_endpoints_of_batches(service: Service) -> None:
    url = "/v1/embeddings"
    lines = [of_batch(str(number), url, input=f"text {number}") for number in range(40)]
    lines += [
        of_batch("packed", url, input=["a", "b"], encoding_format="base64"),
        of_batch("ids", url, input=[1, 2]),
        of_batch("chat", url, input="x", model="demo-chat"),
        of_batch("long", url, input="x" * 5000),
    ]
    rows = batch_rows(service, url, lines)
    for number in range(40):
        body = rows[str(number)]["body"]
        assert body["data"][0]["embedding"] == pytest.approx(vector(f"text {number}"), abs=1e-6)
        assert body["usage"]["prompt_tokens"] == len(f"text {number}")
    packed = [base64.b64decode(row["embedding"]) for row in rows["packed"]["body"]["data"]]
    assert [list(struct.unpack("<8f", one)) for one in packed] == [
        pytest.approx(vector(text), abs=1e-6) for text in ("a", "b")
    ]
    params = {name: rows[name]["body"]["error"]["param"] for name in ("ids", "chat", "long")}
    assert params == {"ids": "input", "chat": "model", "long": "input[0]"}

    url = "/v1/rerank"
    asked = {"query": "q", "documents": ["one", "two"], "return_documents": True}
    ranked = batch_rows(service, url, [of_batch("r", url, **asked)])["r"]["body"]["results"]
    alone = post(service, "rerank", asked).json()["results"]
    assert ranked == alone


def test_lines_of_native_batches_ask_for_both(service: Service) -> None:
    lines: list[dict[str, Any]] = [
        {"custom_id": "e", "model_id": MODEL, "input": ["a", "b"]},
        {"custom_id": "r", "model_id": MODEL, "query": "q", "documents": ["one", "two"]},
        {"custom_id": "c", "model_id": "demo-chat", "prompt": "hi", "max_tokens": 2},
        {"custom_id": "n", "model_id": MODEL, "input": "a", "wat": 1},
    ]
    made = service.json("/api/engine/batches", {"model_id": MODEL, "prompts": lines})
    ended = wait(
        lambda: (
            (b := service.json(f"/api/engine/batches/{made['id']}"))["status"] == "completed" and b
        )
    )
    assert (ended["counts"]["done"], ended["counts"]["failed"]) == (3, 1)
    results = httpx.get(
        f"{service.url.removesuffix('/v1')}/api/engine/batches/{made['id']}/results",
        timeout=60,
    )
    rows = {row["custom_id"]: row for row in map(json.loads, results.text.splitlines())}
    assert rows["e"]["embeddings"] == [pytest.approx(vector(text), abs=1e-6) for text in ("a", "b")]
    assert rows["e"]["usage"] == {"prompt_tokens": 2}
    alone = post(service, "rerank", {"query": "q", "documents": ["one", "two"]}).json()
    assert rows["r"]["results"] == alone["results"]
    assert rows["c"]["finish_reason"] == "length"
    assert rows["n"]["error"]["code"] == "invalid_request"
