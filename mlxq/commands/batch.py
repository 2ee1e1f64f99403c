"""``mlxq batch`` and ``mlxq batches``: run thousands of prompts from a file; list batches."""

from __future__ import annotations

import contextlib
import functools
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from mlxq.commands.batch_files import Results, Ticket, read_prompts
from mlxq.commands.batch_run import BATCH_FIELDS, ENDED, ROUTE, Run, View
from mlxq.commands.inputs import time_option
from mlxq.errors import DONE, FAILED, INTERRUPTED, Problem, WrongUse
from mlxq.http_client import AsJson, Client, Url, complete_model, connect
from mlxq.model_rows import default_of, find, names_by_id, rows_of
from mlxq.output import duration, note, plural, show_json, table

COLUMNS = (
    *("BATCH", "STATUS", "MODEL", "DONE>", "FAILED>", "TOTAL>"),
    *("PER SECOND>", "LEFT>", "BEGAN"),
)
Prompts = Annotated[
    Path, typer.Argument(help='JSONL: {"custom_id": …, "prompt" or "messages": …} a line.')
]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="Results; by default NAME.out.jsonl beside the prompts."),
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model", "-m", help="For lines without a model_id.", autocompletion=complete_model
    ),
]
Cancel = Annotated[
    bool, typer.Option("--cancel", help="End the batch that runs for these results.")
]
NotBefore = Annotated[
    str | None,
    typer.Option(
        metavar="TIME",
        help="Begin at this time: 02:00 (the next one here), 2026-12-01T02:00, or with a zone.",
        callback=time_option,
    ),
]
RetryFailed = Annotated[
    bool, typer.Option("--retry-failed", help="Send lines that failed once more.")
]


def batch(
    context: typer.Context,
    prompts: Prompts,
    output: Output = None,
    model: Model = None,
    cancel: Cancel = False,
    retry_failed: RetryFailed = False,
    not_before: NotBefore = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Run a file of prompts; run again, it resumes. Ctrl-C leaves the batch running."""
    rows = read_prompts(prompts)
    path = output or prompts.with_name(f"{prompts.stem}.out.jsonl")
    if path.resolve() == prompts.resolve():
        raise WrongUse("the results would overwrite the prompts: choose another file with -o")
    with (
        contextlib.closing(Results(path)) as results,
        connect(context, url) as client,
        _bar() as show,
    ):
        if retry_failed and not cancel:
            results.forget_failed()
        named = functools.partial(_model_id, client, model)
        run = Run(client, prompts, rows, results, Ticket(path), named, show, not_before)
        view, interrupted = _run(run, cancel)
    if cancel and view is None and not interrupted:
        raise Problem(f"no batch runs for {path}")
    ids = [row.custom_id for row in rows]
    batch_id = run.batch_id or (view or {}).get("id")
    outcome = Outcome(_counts(path, ids, results.finished), batch_id, interrupted)
    report(outcome, as_json)
    again = f"mlxq batch {prompts} -o {path}"
    advise(outcome, again, view["status"] if view else "lost", running=run.batch_id, cancel=cancel)
    raise typer.Exit(exit_status(outcome, cancel))


def _model_id(client: Client, model: str | None) -> str:
    row = default_of(rows_of(client)) if model is None else find(client, model)
    return str(row["id"])


@dataclass(frozen=True, slots=True)
class Outcome:
    """How many prompts of the file have a result, and whether Ctrl-C came before the end."""

    counts: dict[str, Any]
    batch_id: str | None
    interrupted: bool


def report(outcome: Outcome, as_json: bool) -> None:
    """Print the counts, and where the results are."""
    counts = outcome.counts
    if as_json:
        ids = {"batch_id": outcome.batch_id, "interrupted": outcome.interrupted}
        show_json(counts | ids)
        return
    states = f"{counts['done']:,} done, {counts['failed']:,} failed, {counts['left']:,} left"
    print(f"{plural(counts['total'], 'prompt')}: {states}.\nResults: {counts['output']}")


def advise(outcome: Outcome, again: str, status: str, *, running: str | None, cancel: bool) -> None:
    """Say which command continues: to wait for the batch, to send the rest, to retry failures."""
    if outcome.interrupted:
        state = (
            f"The batch goes on. End it with `{again} --cancel`."
            if running
            else "Nothing was queued."
        )
        note(f"{state} Come back with `{again}`.")
    elif outcome.counts["left"] and not cancel:
        note(f"mlxq: the batch was {status}: `{again}` sends the rest")
    elif outcome.counts["failed"]:
        note(f"mlxq: each failed line says why: `{again} --retry-failed` sends them again")


def exit_status(outcome: Outcome, cancel: bool) -> int:
    """0 when every prompt has an answer, or the batch was to be cancelled and was."""
    if outcome.interrupted:
        return INTERRUPTED
    complete = outcome.counts["done"] == outcome.counts["total"]
    return DONE if cancel or complete else FAILED


def _run(run: Run, cancel: bool) -> tuple[View | None, bool]:
    """The last state of the batch, and whether Ctrl-C came before its end."""
    try:
        return (run.cancel() if cancel else run.to_the_end()), False
    except KeyboardInterrupt:
        return None, True


def _counts(path: Path, ids: list[str], finished: dict[str, bool]) -> dict[str, Any]:
    """How many of these prompts have a result; the file may hold results of others."""
    done = sum(finished.get(name, False) for name in ids)
    ended = sum(name in finished for name in ids)
    return {
        "output": str(path),
        "total": len(ids),
        "done": done,
        "failed": ended - done,
        "left": len(ids) - ended,
    }


@contextlib.contextmanager
def _bar() -> Iterator[Callable[[View], None]]:
    """A progress bar on a terminal; elsewhere nothing is shown."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[failed]} failed"),
        TextColumn("{task.fields[rate]}"),
        TextColumn("{task.fields[left]}"),
    )
    with Progress(
        *columns, console=Console(stderr=True), disable=not sys.stderr.isatty()
    ) as progress:
        task = progress.add_task("uploading", total=None, failed=0, rate="", left="")

        def show(view: View) -> None:
            counts, rate, left = view["counts"], view["tokens_per_second"], view["seconds_left"]
            progress.update(
                task,
                description=view["status"],
                total=counts["total"],
                completed=counts["done"] + counts["failed"],
                failed=counts["failed"],
                rate=f"{rate:,.0f} tokens/s" if rate else "",
                left=f"{duration(left)} left" if left is not None else "",
            )

        yield show


def batches(
    context: typer.Context,
    limit: Annotated[int, typer.Option(help="How many, newest first.", min=1, max=1000)] = 20,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """List batches, newest first."""
    with connect(context, url) as client:
        rows = with_names(client, client.get(ROUTE, rows=BATCH_FIELDS, limit=limit))
    if as_json:
        show_json(rows)
    elif rows:
        table(COLUMNS, map(listed, rows))
    else:
        print("There are no batches.")


def with_names(client: Client, batches: list[View]) -> list[View]:
    """The batches with the names of their models, which are known to the service by ids."""
    if not batches:
        return []
    names = names_by_id(rows_of(client))
    return [row | {"model": names.get(row["model_id"], row["model_id"])} for row in batches]


def listed(view: View) -> tuple[object, ...]:
    """A batch as a row of a table."""
    counts, rate, left = view["counts"], view["tokens_per_second"], view["seconds_left"]
    began = time.strftime("%Y-%m-%d %H:%M", time.localtime(view["created_at"]))
    numbers = counts["done"], counts["failed"], counts["total"], f"{rate:,.0f}" if rate else "-"
    remaining = "-" if left is None or view["status"] in ENDED else duration(left)
    return (
        view["id"],
        view["status"],
        view.get("model") or view["model_id"] or "-",
        *numbers,
        remaining,
        began,
    )
