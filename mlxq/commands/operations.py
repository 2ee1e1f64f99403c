"""``mlxq serve``, ``ps``, ``stop`` and ``status``: run the service and observe it."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from mlxq.commands.batch import COLUMNS, listed, with_names
from mlxq.commands.batch_run import BATCH_FIELDS, ENDED, ROUTE
from mlxq.errors import FAILED, Problem, Refused, WrongUse
from mlxq.http_client import AsJson, Client, Url, connect
from mlxq.output import clean, duration, note, plural, show_json, size, table

MOST_BATCHES = 1000
STATUS_FIELDS = ("queues", "running", "running_total", "workers", "models")
MOST_ID = 255


def serve(context: typer.Context) -> None:
    """Run the service on this machine: Redis, worker and API. See its --help for all settings."""
    from mlxq.service import launch

    launch.main(argv=context.args, program="mlxq serve")


def logs(
    lines: Annotated[int, typer.Option("--lines", "-n", help="The last so many.", min=0)] = 50,
    data: Annotated[Path | None, typer.Option("--data", help="Data folder of the service.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show the end of the logs of the service on this machine, and where they are."""
    from mlxq.service.launch import log_files
    from wire.settings import load

    folder = log_files((data or load().data).resolve())
    files = sorted(folder.glob("*.log")) if folder.is_dir() else []
    if not files:
        raise Problem(f"there are no logs in {folder}: name the service's data folder with --data")
    if as_json:
        show_json({"files": [str(file) for file in files]})
        return
    for file in files:
        print(f"==> {file} <==", flush=True)
        with file.open(encoding="utf-8", errors="replace") as opened:
            for line in deque(opened, maxlen=lines):
                print(clean(line), end="")


def ps(context: typer.Context, url: Url = None, as_json: AsJson = False) -> None:
    """Show running and waiting chats, and batches that have not ended."""
    with connect(context, url) as client:
        status = client.get("/api/engine/status", fields=STATUS_FIELDS)
        batches = [
            row
            for row in client.get(ROUTE, rows=BATCH_FIELDS, limit=MOST_BATCHES)
            if row["status"] not in ENDED
        ]
        batches = with_names(client, batches)
    if as_json:
        show_json({"running": status["running"], "queues": status["queues"], "batches": batches})
        return
    if status["running"]:
        columns = ("JOB", "MODEL", "TOKENS>", "PER SECOND>", "FIRST AFTER>", "RUNS FOR>")
        table(columns, [_job(row) for row in status["running"]])
    if batches:
        table(COLUMNS, map(listed, batches))
    waiting = status["queues"].get("chat", 0)
    running = f"{plural(status['running_total'], 'chat')} running, {waiting:,} waiting"
    print(f"{running}; {plural(len(batches), 'batch', 'batches')}.")


def _job(row: dict[str, Any]) -> tuple[object, ...]:
    first = duration(row["ttft_ms"] / 1000) if row["ttft_ms"] else "-"
    rate = f"{row['tokens_per_second']:.1f}"
    return (
        row["job_id"],
        row.get("model", row["model_id"]),
        row["tokens"],
        rate,
        first,
        duration(row["elapsed_ms"] / 1000),
    )


def stop(
    context: typer.Context,
    job: Annotated[
        str | None, typer.Argument(help="Id of a chat or a batch, as `mlxq ps` shows it.")
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="All of your chats, running and waiting.")
    ] = False,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Stop a chat or cancel a batch; the results so far are kept."""
    if (job is None) != every:
        raise WrongUse("name one chat, as `mlxq ps` shows it, or stop all of yours with --all")
    if job is not None and not (0 < len(job) <= MOST_ID and job.isprintable()):
        raise WrongUse("that is not the id of a chat or a batch: `mlxq ps` shows those there are")
    with connect(context, url) as client:
        if job is None or _is_chat(client, job):
            answer = client.post("/api/engine/chat/stop", None if job is None else {"job_id": job})
        else:
            answer = client.post(f"{ROUTE}/{quote(job, safe='')}/cancel")
    if as_json:
        show_json(answer)
    else:
        print("Stopped all of your chats." if job is None else f"Stopped {job}.")


def _is_chat(client: Client, job: str) -> bool:
    """Whether an id is a chat's; a batch's otherwise. Raises Problem for an id of neither."""
    name = quote(job, safe="")
    for chats, path in ((True, f"/api/engine/jobs/{name}"), (False, f"{ROUTE}/{name}")):
        try:
            client.get(path)
            return chats
        except Refused as refused:
            if refused.code == "expired":
                return chats
            if refused.code not in ("job_not_found", "batch_not_found", "not_found"):
                raise
    raise Problem(f"there is neither a chat nor a batch {job}: `mlxq ps` shows those there are")


def status(context: typer.Context, url: Url = None, as_json: AsJson = False) -> None:
    """Show queues, workers, models and memory. Fails when chats would not be served."""
    with connect(context, url) as client:
        status_view = client.get("/api/engine/status", fields=STATUS_FIELDS)
        try:
            reason = None
            client.get("/ready")
        except Refused as refused:
            reason = str(refused)
    if as_json:
        show_json({"ready": reason is None} | status_view)
    else:
        _show_status(client.url, status_view)
    if reason is not None:
        note(f"mlxq: not ready: {reason}")
        raise typer.Exit(FAILED)


def _show_status(url: str, status_view: dict[str, Any]) -> None:
    queues = ", ".join(f"{count:,} in {name}" for name, count in status_view["queues"].items())
    print(f"{url}: {plural(status_view['running_total'], 'chat')} running; waiting: {queues}.")
    if status_view["workers"]:
        print()
        table(
            ("WORKER", "HOST", "RUNNING>", "SLOTS>", "MEMORY>", "MLX>", ""),
            [_worker(row) for row in status_view["workers"]],
        )
    if status_view["models"]:
        print()
        rows = [
            (m.get("name", m["id"]), size(m["bytes"]), m["kv_quantization"] or "-", m["worker"])
            for m in status_view["models"]
        ]
        table(("LOADED MODEL", "WEIGHTS>", "KV BITS>", "WORKER"), rows)


def _worker(row: dict[str, Any]) -> tuple[object, ...]:
    memory = row["memory"]
    state = "draining" if row["draining"] else ""
    running = row["running_total"]
    return (
        row["name"],
        row["host"],
        running,
        row["slots"],
        f"{memory['percent']:.0f} %",
        size(memory["mlx_bytes"]),
        state,
    )
