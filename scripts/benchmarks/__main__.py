"""The command line of the benchmark, and the order in which its parts are measured: never two at
once."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import uvloop

from scripts.benchmarks.measured import Measured
from scripts.benchmarks.parts import (
    crowd,
    disk_cache,
    durability,
    rounds,
    several_workers,
    startup,
)
from scripts.benchmarks.parts.in_process import equal_text
from scripts.benchmarks.parts.text import TextLoad
from scripts.benchmarks.parts.vision import VisionLoad
from scripts.benchmarks.report import equal_answers, report
from scripts.benchmarks.report_file import write_section
from scripts.benchmarks.systems import machine, models, processes, servers
from scripts.benchmarks.systems.plan import (
    CLIENTS,
    CLIENTS_OF_OWN_MODEL,
    DEFAULT_PARTS,
    IN_TURN,
    PARTS,
    PARTS_OF_OWN_MODEL,
    BenchError,
    Plan,
    Results,
)
from scripts.benchmarks.systems.prompts import Prompts

ROUNDS = 6
EQUAL_TITLE = f"Answers that are the same alone and among {equal_text.SEQUENCES}"
SIZES = {"small": "1.4 M parameters", "large": "10 M parameters"}


def _commands() -> argparse.ArgumentParser:
    commands = argparse.ArgumentParser(
        "scripts/bench",
        description=(
            "Measure this service beside mlx_lm in one process and mlx_lm.server, on "
            "generated models."
        ),
    )
    commands.add_argument(
        "--large", action="store_true", help="a text model of 10 M parameters in place of 1.4 M"
    )
    commands.add_argument(
        "--model",
        type=Path,
        metavar="FOLDER",
        help=(
            "a text model of your own in place of the generated one; without --only its "
            "throughput, prefill, turn2, join and stop are measured"
        ),
    )
    commands.add_argument(
        "--stock-blas", action="store_true", help="the BLAS of MLX's wheel, also where OpenBLAS is"
    )
    _add_amounts(commands)
    commands.add_argument(
        "--write",
        type=Path,
        metavar="FILE",
        help=(
            "put the report into this Markdown file, each table in place of an earlier one on "
            "this model and BLAS"
        ),
    )
    return commands


def _add_amounts(commands: argparse.ArgumentParser) -> None:
    """The options for how much is measured."""
    commands.add_argument("--only", metavar="NAME,…", help=f"some of the parts: {', '.join(PARTS)}")
    commands.add_argument(
        "--equal-text", action="store_true", help="also count equal answers, alone and among 32"
    )
    commands.add_argument(
        "--quick", action="store_true", help="one round: to see that it works, not to measure"
    )
    commands.add_argument(
        "--rounds", type=int, default=ROUNDS, metavar="N", help=f"rounds (default {ROUNDS})"
    )
    commands.add_argument(
        "--clients",
        type=int,
        metavar="N",
        help="only a crowd of N streaming clients, against the echo backend",
    )
    commands.add_argument(
        "--workers",
        action="store_true",
        help="only conversations on several workers, against the echo backend",
    )


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The options of a run; what can't be run ends the program with one line."""
    commands = _commands()
    chosen = commands.parse_args(argv)
    possible = PARTS_OF_OWN_MODEL if chosen.model else PARTS
    default = PARTS_OF_OWN_MODEL[:-2] if chosen.model else DEFAULT_PARTS
    parts = tuple(chosen.only.split(",")) if chosen.only else default
    if unknown := [part for part in parts if part not in possible]:
        commands.error(f"there is no part {unknown[0]!r}; the parts are {', '.join(possible)}")
    if chosen.model and not (chosen.model / "config.json").is_file():
        commands.error(f"--model {chosen.model} is no folder of a model")
    if chosen.rounds < 1:
        commands.error("--rounds must be at least 1")
    if chosen.clients is not None and not 1 <= chosen.clients <= crowd.MOST:
        commands.error(
            f"--clients must be between 1 and {crowd.MOST}, which is what one worker runs at once"
        )
    chosen.parts = (
        (*parts, "equal-text") if chosen.equal_text and "equal-text" not in parts else parts
    )
    return chosen


def measure(plan: Plan, folder: Path) -> Measured:
    """The parts of the plan: first those in which systems take turns, then those of this service
    alone."""
    found = Measured(generated=not plan.own_model)
    if {*IN_TURN, "stop", "vision"} & set(plan.parts):
        with servers.ours(plan, folder) as server:
            found.blas.append(server.blas)
            if plan.cases:
                _compare(plan, folder, server, found)
            found.ours |= uvloop.run(_ours(plan, server))
    if "start" in plan.parts:
        log("scripts/serve, from its start to the first token")
        found.ours |= startup.measure(plan, folder)
    if "disk-cache" in plan.parts:
        log("cached prompts on disk")
        found.ours |= disk_cache.measure(plan, folder)
    if "durability" in plan.parts:
        log("the cost of the token log")
        found.ours |= uvloop.run(durability.measure(plan, folder))
    if "equal-text" in plan.parts:
        log("equal answers")
        found.equal = equal_text.measure(machine.find_openblas(), folder)
    return found


def _compare(plan: Plan, folder: Path, server: servers.Server, found: Measured) -> None:
    log("mlx_lm in one process, mlx_lm.server and this service, in turn")
    with rounds.systems(plan, folder, server) as (running, blas):
        found.blas += blas
        results = uvloop.run(rounds.take_turns(plan, running, log))
    found.limit, found.peer = results.get("limit", {}), results.get("peer", {})
    found.ours |= results["ours"]


async def _ours(plan: Plan, server: servers.Server) -> Results:
    text = Prompts(plan.model)
    results: Results = {}
    if "stop" in plan.parts:
        log("stop")
        results |= await TextLoad(plan, server, text).stop()
    if "vision" in plan.parts:
        log("vision")
        results |= await VisionLoad(plan, server, Prompts(plan.vision_model), text).run()
    return results


def sections(size: str, plan: Plan, moment: str, found: Measured) -> dict[str, str]:
    """The report by title: conditions, how it was measured, tables."""
    result = {}
    if found.ours:
        blas = machine.OPENBLAS if plan.openblas else "the BLAS in MLX's wheel"
        # Some parts start services of their own, whose BLAS is not checked.
        notes = bullets([*machine.conditions(), *method(size, plan, found.blas or [blas])])
        measured = f"Measured {moment}; rounds: {plan.rounds}."
        name = plan.own_model or SIZES[size]
        result[f"{name}, {blas}"] = f"{notes}\n\n{report(found, measured)}"
    if found.equal:
        model = (
            "Random weights, 1.4 M parameters; 64 tokens an answer, prompts of different lengths"
        )
        notes = bullets([moment, *machine.conditions(), model])
        result[EQUAL_TITLE] = f"{notes}\n\n{equal_answers(found.equal)}"
    return result


def bullets(notes: list[str]) -> str:
    return "\n".join(f"- {note}." for note in notes)


def method(size: str, plan: Plan, blas: list[str]) -> list[str]:
    """What was measured and how, in sentences."""
    bursts = ", ".join(f"{plan.repeats_of(clients)} of {clients}" for clients in plan.clients)
    return [
        f"BLAS: {' / '.join(dict.fromkeys(blas))}",
        f"The model {plan.own_model}, with an end-of-text token that it does not write"
        if plan.own_model
        else f"Random weights, {SIZES[size]}, fp32; vision: qwen2_vl, 1.2 M parameters",
        "What is compared takes turns, round by round, every other round in the other order, and "
        "a ratio is the median "
        f"of the rounds' ratios; bursts a round: {bursts} clients, whose median is the round's; "
        f"tokens/s are medians "
        "over rounds, from the first request sent to the last token, and TTFT is taken over all "
        "requests, from before "
        "the connection to the first text",
        "64 tokens an answer, 32 a prompt, no prompt twice, the same prompts for all three; the "
        "client runs on the "
        "same machine; start and warm-up (loading, first requests) are left out",
    ]


def log(text: str) -> None:
    print(f"Measuring {text} …", file=sys.stderr, flush=True)


def run_crowd(clients: int) -> dict[str, str]:
    """The section about a crowd of clients."""
    conditions = [machine.moment(), *machine.conditions()]
    log(f"{clients:,} streaming clients")
    with tempfile.TemporaryDirectory(prefix="mlxq-bench-") as name:
        seen = crowd.measure(clients, Path(name))
    notes = bullets([*conditions, *crowd.method(clients)])
    return {f"{clients:,} streaming clients": f"{notes}\n\n{crowd.report(seen)}"}


def run_workers(rounds: int) -> dict[str, str]:
    """The section about several workers."""
    conditions = [machine.moment(), *machine.conditions()]
    log("conversations on several workers")
    with tempfile.TemporaryDirectory(prefix="mlxq-bench-") as name:
        seen, ended = several_workers.measure(Path(name), rounds)
    notes = bullets([*conditions, *several_workers.method(rounds)])
    return {"Several workers": f"{notes}\n\n{several_workers.report(seen, ended)}"}


def show(found: dict[str, str], write: Path | None) -> None:
    """Print the sections, and put them into the report when there is one."""
    for title, text in found.items():
        print(f"## {title}\n\n{text}\n")
        if write:
            write_section(write, title, text)


def run(chosen: argparse.Namespace) -> None:
    if chosen.clients is not None:
        show(run_crowd(chosen.clients), chosen.write)
        return
    if chosen.workers:
        show(run_workers(1 if chosen.quick else chosen.rounds), chosen.write)
        return
    moment = machine.moment()
    size = "large" if chosen.large else "small"
    with tempfile.TemporaryDirectory(prefix="mlxq-bench-") as name:
        plan = _prepare(chosen, Path(name), size)
        found = measure(plan, Path(name))
    show(sections(size, plan, moment, found), chosen.write)


def _prepare(chosen: argparse.Namespace, folder: Path, size: str) -> Plan:
    """Make the models of a run."""
    made = folder / "models"
    if chosen.model:
        models.copy_without_end(chosen.model.resolve(), made / models.TEXT_NAME)
    elif set(chosen.parts) - {"start", "equal-text"}:
        command = processes.python("scripts.benchmarks.systems.models", str(made), size)
        processes.finished(command, processes.environment(), folder / "models.log")
    return Plan(
        str(made / models.TEXT_NAME),
        str(made / models.VISION_NAME),
        1 if chosen.quick else chosen.rounds,
        chosen.parts,
        "" if chosen.stock_blas else machine.find_openblas(),
        CLIENTS_OF_OWN_MODEL if chosen.model else CLIENTS,
        chosen.model.resolve().name if chosen.model else "",
    )


def main() -> None:
    # SIGTERM ends a run as Ctrl-C does: child processes are ended, temporary files removed.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        run(arguments())
    except BenchError as problem:
        sys.exit(f"scripts/bench: {problem}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
