"""``mlxq``, the command line: its commands, and one line and an exit status for each failure.

Speaks to the service over HTTP alone; the commands are in ``mlxq/commands``.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from mlxq.commands.admin.keys import keys
from mlxq.commands.admin.receipts import receipt, replay
from mlxq.commands.admin.usage import usage
from mlxq.commands.admin.webhooks import webhooks
from mlxq.commands.batch import batch, batches
from mlxq.commands.chat import chat, run
from mlxq.commands.doctor import doctor
from mlxq.commands.inputs import prepare_streams
from mlxq.commands.models.group import models
from mlxq.commands.models.listing import show, show_list
from mlxq.commands.models.memory import delete, load, unload, unpin
from mlxq.commands.models.prompt_cache import cache
from mlxq.commands.models.pulling import pull
from mlxq.commands.operations import logs, ps, serve, status, stop
from mlxq.commands.overview import overview, show_help
from mlxq.commands.texts.embed import embed
from mlxq.connect.command import connect
from mlxq.errors import FAILED, INTERRUPTED, WRONG_USE, Problem
from mlxq.http_client import Url
from mlxq.key_option import keep_url, with_key
from mlxq.output import note
from wire.receipts.release import release

ABOUT = """Chat with the models of an MLX chat queue, and operate it.

Exit status: 0 success; 1 the service refused, or an answer, a line of a batch or a check failed; \
2 wrong usage, nothing was sent; 3 no service answers; 130 stopped by Ctrl-C."""


class Commands(TyperGroup):
    """The commands; each failure that a user can cause is one line."""

    def main(self, *args: Any, **more: Any) -> Any:
        """Run a command and exit."""
        prepare_streams()
        try:
            status = super().main(*args, **(more | {"standalone_mode": False}))
            sys.stdout.flush()
        except Problem as problem:
            note(f"mlxq: {problem}")
            status = problem.status
        except typer.TyperException as mistake:
            note(_one_line(mistake))
            status = WRONG_USE
        except typer.Abort:
            status = INTERRUPTED
        except BrokenPipeError:
            _drop_output()
            status = FAILED
        except OSError as error:  # a disk that is full, a file that vanished
            where = f": {error.filename}" if error.filename else ""
            note(f"mlxq: {error.strerror or type(error).__name__}{where}")
            _drop_output()
            status = FAILED
        sys.exit(status if isinstance(status, int) else 0)


def _drop_output() -> None:
    """Keep Python from failing at exit on output that can't be written."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _one_line(mistake: typer.TyperException) -> str:
    """A wrong option or a missing argument in one line, with the help to read."""
    context: typer.Context | None = getattr(mistake, "ctx", None)
    where = context.command_path if context else "mlxq"
    text = mistake.format_message().replace("\n", " ").rstrip(".")
    return f"mlxq: {text}: `{where} --help` says more"


app = typer.Typer(
    name="mlxq",
    cls=Commands,
    help=ABOUT,
    # Help in boxes and colours would cost 0.15 s of imports each time.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(requested: bool) -> None:
    if requested:
        print(release())
        raise typer.Exit


@app.callback(invoke_without_command=True)
@with_key
def everywhere(
    context: typer.Context,
    url: Url = None,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    del version
    keep_url(context, url)
    if context.invoked_subcommand is None:
        overview(context)


_COMMANDS: dict[str, Any] = {
    "run": run,
    "chat": chat,
    "pull": pull,
    "list": show_list,
    "show": show,
    "load": load,
    "unload": unload,
    "unpin": unpin,
    "rm": delete,
    "cache": cache,
    "embed": embed,
    "batch": batch,
    "batches": batches,
    "ps": ps,
    "stop": stop,
    "receipt": receipt,
    "replay": replay,
    "status": status,
    "usage": usage,
    "doctor": doctor,
    "connect": connect,
}
for _name, _command in _COMMANDS.items():
    app.command(_name)(with_key(_command))
app.command("logs")(logs)
app.command("help")(show_help)
app.command(
    context_settings={
        "allow_extra_args": True,
        "ignore_unknown_options": True,
        "help_option_names": [],
    },
    add_help_option=False,
)(serve)
app.add_typer(models, name="models")
app.add_typer(keys, name="keys")
app.add_typer(webhooks, name="webhooks")


def main() -> None:
    """The entry point."""
    app(prog_name="mlxq")


if __name__ == "__main__":
    main()
