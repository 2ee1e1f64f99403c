"""``mlxq embed``: the vectors of texts."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from mlxq.commands.inputs import checked_text, piped_text
from mlxq.errors import WrongUse
from mlxq.http_client import AsJson, Client, Url, complete_model, connect
from mlxq.output import show_json

ROUTE = "/v1/embeddings"
MOST_TEXTS = 2048
"""Of one request."""
LIMIT_S = 3600.0
"""For an answer: many texts may wait for chats."""
Texts = Annotated[
    list[str] | None, typer.Argument(help="The texts; without any, the lines of standard input.")
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        help="An embedding model; without it the first one there is.",
        autocompletion=complete_model,
    ),
]
Dimensions = Annotated[
    int | None, typer.Option("--dimensions", min=1, help="Shorter vectors, of models that can.")
]
PromptName = Annotated[
    str | None, typer.Option("--prompt-name", help="The model's prompt that begins each text.")
]


def embed(
    context: typer.Context,
    texts: Texts = None,
    model: Model = None,
    dimensions: Dimensions = None,
    prompt_name: PromptName = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Print the vectors of texts, a list of numbers a line."""
    given = [checked_text(text, "a text") for text in texts or piped_text(True).splitlines()]
    if not all(given) or not given:
        raise WrongUse("a text is needed, and none may be empty: `mlxq embed TEXT…`")
    asked = {"model": model, "dimensions": dimensions, "prompt_name": prompt_name}
    fields = {name: value for name, value in asked.items() if value is not None}
    with connect(context, url) as client:
        answer = _answer(client, given, fields)
    if as_json:
        show_json(answer)
        return
    for row in answer["data"]:
        print(json.dumps(row["embedding"]))


def _answer(client: Client, texts: list[str], fields: dict[str, Any]) -> dict[str, Any]:
    """The answer for all texts, from as many requests as they need."""
    whole: dict[str, Any] = {"model": None, "data": [], "prompt_tokens": 0}
    for start in range(0, len(texts), MOST_TEXTS):
        some = texts[start : start + MOST_TEXTS]
        got = client.post(ROUTE, {"input": some, **fields}, LIMIT_S, fields=("data", "usage"))
        whole["model"] = got["model"]
        whole["data"] += [
            {"text": text, "embedding": row["embedding"]}
            for text, row in zip(some, got["data"], strict=True)
        ]
        whole["prompt_tokens"] += got["usage"]["prompt_tokens"]
    return whole
