"""``mlxq batch`` and ``mlxq batches``: thousands of prompts from a file, with a bar; what
batches there are."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from mlxq.commands.batch_files import Results, Ticket, read_prompts
from mlxq.commands.batch_run import BATCH_FIELDS, ENDED, ROUTE, Run, View
from mlxq.commands.chat import usual_model
from mlxq.errors import DONE, FAILED, INTERRUPTED, Problem, WrongUse
from mlxq.http_client import AsJson, Url, complete_model, connect
from mlxq.output import duration, note, plural, show_json, table

COLUMNS = (
    "BATCH",
    "STATUS",
    "MODEL",
    "DONE>",
    "FAILED>",
    "TOTAL>",
    "PER SECOND>",
    "LEFT>",
    "BEGAN",
)


def batch(
    context: typer.Context,
    prompts: Annotated[
        Path, typer.Argument(help='JSONL: {"custom_id": …, "prompt" or "messages": …} a line.')
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Results; by default beside the prompts, as NAME.out.jsonl."
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", "-m", help="For lines without a model_id.", autocompletion=complete_model
        ),
    ] = None,
    cancel: Annotated[
        bool, typer.Option("--cancel", help="End the batch that runs for these results.")
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Send lines that failed once more.")
    ] = False,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Run a file of prompts. Run again, it goes on where it stopped; Ctrl-C leaves the batch
    running."""
    rows = read_prompts(prompts)
    place = output or prompts.with_name(f"{prompts.stem}.out.jsonl")
    if place.resolve() == prompts.resolve():
        raise WrongUse("the results would overwrite the prompts: choose another file with -o")
    with (
        contextlib.closing(Results(place)) as results,
        connect(context, url) as client,
        _bar() as show,
    ):
        if retry_failed and not cancel:
            results.forget_failed()
        named = (lambda: model) if model else (lambda: usual_model(client, vision=False))
        run = Run(client, prompts, rows, results, Ticket(place), named, show)
        view, interrupted = _carried_out(run, cancel)
    if cancel and view is None and not interrupted:
        raise Problem(f"no batch runs for {place}")
    told = _counted(place, [row.custom_id for row in rows], results.finished)
    if as_json:
        show_json(
            told | {"batch_id": run.batch_id or (view or {}).get("id"), "interrupted": interrupted}
        )
    else:
        counts = f"{told['done']:,} done, {told['failed']:,} failed, {told['left']:,} left"
        print(f"{plural(told['total'], 'prompt')}: {counts}.\nResults: {place}")
    again = f"mlxq batch {prompts} -o {place}"
    if interrupted:
        going = (
            f"The batch goes on. End it with `{again} --cancel`."
            if run.batch_id
            else "Nothing was queued."
        )
        note(f"{going} Come back with `{again}`.")
        raise typer.Exit(INTERRUPTED)
    if told["left"] and not cancel:
        note(f"mlxq: the batch was {view['status'] if view else 'lost'}: `{again}` sends the rest")
    elif told["failed"]:
        note(f"mlxq: each failed line says why: `{again} --retry-failed` sends them again")
    raise typer.Exit(DONE if cancel or told["done"] == told["total"] else FAILED)


def _carried_out(run: Run, cancel: bool) -> tuple[View | None, bool]:
    """The last state of the batch, and whether Ctrl-C came before its end."""
    try:
        return (run.cancel() if cancel else run.to_the_end()), False
    except KeyboardInterrupt:
        return None, True


def _counted(place: Path, ids: list[str], finished: dict[str, bool]) -> dict[str, Any]:
    """What came of the prompts; the file may hold results of others."""
    done = sum(finished.get(name, False) for name in ids)
    ended = sum(name in finished for name in ids)
    return {
        "output": str(place),
        "total": len(ids),
        "done": done,
        "failed": ended - done,
        "left": len(ids) - ended,
    }


@contextlib.contextmanager
def _bar() -> Iterator[Callable[[View], None]]:
    """What shows a batch's state: a bar on a terminal, nothing elsewhere."""
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
        rows = client.get(ROUTE, rows=BATCH_FIELDS, limit=limit)
    if as_json:
        show_json(rows)
    elif rows:
        table(
            (
                "BATCH",
                "STATUS",
                "MODEL",
                "DONE>",
                "FAILED>",
                "TOTAL>",
                "PER SECOND>",
                "LEFT>",
                "BEGAN",
            ),
            map(listed, rows),
        )
    else:
        print("There are no batches.")


def listed(view: View) -> tuple[object, ...]:
    """A batch as a row of a table."""
    counts, rate, left = view["counts"], view["tokens_per_second"], view["seconds_left"]
    began = time.strftime("%Y-%m-%d %H:%M", time.localtime(view["created_at"]))
    numbers = counts["done"], counts["failed"], counts["total"], f"{rate:,.0f}" if rate else "-"
    remaining = "-" if left is None or view["status"] in ENDED else duration(left)
    return view["id"], view["status"], view["model_id"] or "-", *numbers, remaining, began
