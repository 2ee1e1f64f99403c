"""``mlxq receipt`` and ``mlxq replay``: how a chat was answered, and whether it is alike again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any
from urllib.parse import quote

import typer

from mlxq.errors import FAILED
from mlxq.http_client import AsJson, Url, connect
from mlxq.output import duration, plural, show_json, size, table

REPLAY_S = 24 * 3600.0
"""A replay waits in the queue like any chat, and then runs as long as its chat did."""
_RECEIPT = ("finish_reason", "model", "usage", "timings", "workers", "libraries")
_REPLAY = ("result", "compared_tokens", "token", "original_token", "replay_token", "job_id")
Job = Annotated[str, typer.Argument(help="Id of a chat that has ended.")]


def receipt(context: typer.Context, job: Job, url: Url = None, as_json: AsJson = False) -> None:
    """Show how a chat was answered: request, model, seed, workers, times, tokens, memory."""
    with connect(context, url) as client:
        view = client.get(_path(job, "receipt"), fields=_RECEIPT)
    if as_json:
        show_json(view)
    else:
        table(("RECEIPT", job), _rows(view))


def replay(context: typer.Context, job: Job, url: Url = None, as_json: AsJson = False) -> None:
    """Run a chat that has ended again, and compare the answers; fails where they differ."""
    with connect(context, url) as client:
        view = client.post(_path(job, "replay"), limit_s=REPLAY_S, fields=_REPLAY)
    if as_json:
        show_json(view)
    else:
        print(_told(view))
    if view["result"] != "identical":
        raise typer.Exit(FAILED)


def _path(job: str, what: str) -> str:
    return f"/api/engine/jobs/{quote(job, safe='')}/{what}"


def _told(view: dict[str, Any]) -> str:
    if view["result"] == "identical":
        return f"identical: {plural(view['compared_tokens'], 'token')} ({view['job_id']})"
    was, now = (
        "its end" if view[name] is None else str(view[name])
        for name in ("original_token", "replay_token")
    )
    return f"differs at token {view['token']}: {was} was {now} this time ({view['job_id']})"


def _rows(view: dict[str, Any]) -> Iterator[tuple[str, object]]:
    usage, timings = view["usage"], view["timings"]
    yield "ended", view["code"] or view["finish_reason"]
    yield "model", f"{view['model']}, revision {view['model_revision']}"
    yield "request", f"sha256 {view['request_sha256']}"
    yield "seed", view["seed"]
    changed = (view["sampling"] or {}).items()
    yield "sampling", ", ".join(f"{name} {value}" for name, value in changed if name != "seed")
    yield "workers", ", then ".join(view["workers"]) or "-"
    yield "versions", ", ".join(f"{name} {number}" for name, number in view["libraries"].items())
    for name in ("queue", "load", "prefill"):
        yield name, duration(timings[f"{name}_ms"] / 1000)
    yield "first token after", duration(timings["ttft_ms"] / 1000)
    yield "tokens per second", timings["tokens_per_second"]
    yield "prompt", f"{usage['prompt_tokens']} tokens, {usage['cached_tokens']} of them cached"
    yield "answer", plural(usage["completion_tokens"], "token")
    drafted = timings["draft_tokens"]
    yield "guessed ahead", f"{drafted} tokens, {timings['accepted_tokens']} of them right"
    peak = view["peak_memory_bytes"]
    yield "peak memory", "-" if peak is None else size(peak)
    yield "can be run again", "yes" if view["replayable"] else "no"
    if (replayed := view["replay"]) is not None:
        yield f"compared with {view['replay_of']}", replayed["result"]
