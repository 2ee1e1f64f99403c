"""The figures as Markdown tables, with ratios and their targets."""

from __future__ import annotations

from collections.abc import Sequence

from scripts.benchmarks import text_tables
from scripts.benchmarks.cells import NOTHING, met, p50, p95, paired, rate, ttft
from scripts.benchmarks.measured import Measured
from scripts.benchmarks.parts.disk_cache import CLIENTS as CONVERSING
from scripts.benchmarks.parts.disk_cache import STREAMS
from scripts.benchmarks.parts.in_process.equal_text import SEQUENCES, Row
from scripts.benchmarks.parts.text import BATCH
from scripts.benchmarks.parts.vision import CHATS
from scripts.benchmarks.systems.plan import BATCH_PROMPTS, SAMPLINGS, Figures, Results
from scripts.benchmarks.table import table


def report(found: Measured, measured: str) -> str:
    """All tables for which something was measured. ``measured`` has the line below each title:
    when, and how often."""
    parts = [
        text_tables.throughput(found, sampling)
        for sampling in SAMPLINGS
        if f"{sampling.name} 1" in found.ours
    ]
    if "prefill" in found.ours:
        parts.append(text_tables.prefill(found))
    if "warm" in found.ours:
        parts.append(text_tables.second_turn(found))
    if "join" in found.ours:
        parts.append(text_tables.join(found))
    if "stop one" in found.ours:
        parts.append(_stop(found.ours))
    if "batch" in found.ours:
        parts.append(_batch(found))
    if "images together" in found.ours:
        parts.append(_vision(found.ours))
    if "start" in found.ours:
        parts.append(_start(found.ours["start"]))
    if "disk bytes" in found.ours:
        parts.append(_disk_cache(found.ours))
    if "durable" in found.ours:
        parts.append(_durability(found.ours))
    return "\n\n".join(part.replace("\n\n", f"\n\n{measured}\n\n", 1) for part in parts)


def _durability(ours: Results) -> str:
    durable, plain = ours["durable"], ours["plain"]
    cost = 1 - p50(durable.rate) / p50(plain.rate)
    rows = [
        ["tokens/s", rate(durable), rate(plain), f"{cost:.1%}", "≤ 3 %", met(cost <= 0.03)],
        ["TTFT p50 / p95, ms", ttft(durable), ttft(plain), *[NOTHING] * 3],
    ]
    head = ["32 clients, greedy", "with the log", "plain PUBLISH", "cost", "target", "met"]
    return "### The durable token log against publishing alone\n\n" + table(head, rows)


def _disk_cache(ours: Results) -> str:
    rows = []
    for length in sorted(int(key.split()[0]) for key in ours if key.endswith(" disk")):
        disk, cold = ours[f"{length} disk"], ours[f"{length} cold"]
        share = paired(disk.ttft, cold.ttft)
        title = f"turn 2 of {length + 100:,} tokens after kill -9, against cold, TTFT p50 / p95, ms"
        rows.append([title, ttft(disk), ttft(cold), f"{share:.0%}", "≤ 20 %", met(share <= 0.2)])
    for key, what in (("begin", "written"), ("go on", "read")):
        beside, without = ours[f"{key} with"], ours[f"{key} without"]
        times = paired(beside.ttft, without.ttft)
        title = (
            f"longest silence of {STREAMS} streams while conversations {key} whose entries are"
            f" {what}, against no disk cache, p50 / p95, ms"
        )
        cells = [ttft(beside), ttft(without), f"{times:.2f} ×", "≤ 1.5 ×", met(times <= 1.5)]
        rows.append([title, *cells])
    hourly = f"{p50(ours['disk bytes'].rate) / 1e9:.2f} GB, were there no cap"
    title = f"written in an hour for {CONVERSING} clients with conversations of two turns"
    rows.append([title, hourly, *[NOTHING] * 4])
    head = ["", "", "against", "ratio", "target", "met"]
    return "### Cached prompts on disk\n\n" + table(head, rows)


def _stop(ours: Results) -> str:
    cases = ((f"one of {BATCH}", "stop one"), (f"the other {BATCH - 1}", "stop all"))
    rows = [
        [name, ttft(ours[key]), "≤ 250 ms", met(p50(ours[key].ttft) <= 0.25)] for name, key in cases
    ]
    head = ["stopped", "ms", "target", "met"]
    return "### From the stop call to the end of the stream (p50 / p95)\n\n" + table(head, rows)


def _batch(found: Measured) -> str:
    ours, limit = found.ours["batch"], found.limit["batch"]
    alone, beside = found.ours["chat alone"], found.ours["chat beside a batch"]
    share, times = paired(ours.rate, limit.rate), p95(beside.ttft) / p95(alone.ttft)
    name = "`mlx_lm.batch_generate`"
    rows = [
        [
            f"tokens/s, against {name}, rounds: {len(ours.rate)}",
            rate(ours),
            rate(limit),
            f"{share:.0%}",
            "≥ 95 %",
            met(share >= 0.95),
        ],
        [
            "TTFT of a chat while it runs, against none running, p50 / p95, ms",
            ttft(beside),
            ttft(alone),
            f"{times:.1f} × at p95",
            "≤ 2 ×",
            met(times <= 2),
        ],
    ]
    title = f"### A batch of {BATCH_PROMPTS:,} prompts, greedy"
    return f"{title}\n\n" + table(["", "", "against", "ratio", "target", "met"], rows)


def _vision(ours: Results) -> str:
    together, in_turn = ours["images together"], ours["images in turn"]
    speedup = p50(together.rate) / p50(in_turn.rate)
    share = p50(ours["image warm"].ttft) / p50(ours["image cold"].ttft)
    rows = [
        [
            f"{CHATS} image chats at once against one after another, tokens/s",
            rate(together),
            rate(in_turn),
            f"{speedup:.2f} ×",
            "≥ 2 ×",
            met(speedup >= 2),
        ],
        [
            "turn 2 about the same image against cold, TTFT p50 / p95, ms",
            ttft(ours["image warm"]),
            ttft(ours["image cold"]),
            f"{share:.0%}",
            "≤ 33 %",
            met(share <= 1 / 3),
        ],
        [
            f"longest silence of a text stream while {CHATS} image chats join, against alone, "
            f"p50 / p95, ms",
            ttft(ours["stall"]),
            ttft(ours["stall alone"]),
            NOTHING,
            NOTHING,
            NOTHING,
        ],
    ]
    return "### Images\n\n" + table(["", "", "against", "ratio", "target", "met"], rows)


def _start(figures: Figures) -> str:
    seconds = p50(figures.ttft)
    rows = [[f"{seconds:.1f} / {max(figures.ttft):.1f}", "≤ 10 s", met(seconds <= 10)]]
    title = "### From the start of `scripts/serve` to the first token of the line it prints"
    return f"{title}\n\n" + table(["median / longest, s", "target", "met"], rows)


def equal_answers(rows: Sequence[Row]) -> str:
    """The table of equal answers."""
    shown = [[dtype, blas, f"{g}/{SEQUENCES}", f"{s}/{SEQUENCES}"] for blas, dtype, g, s in rows]
    return table(["weights", "BLAS", "greedy", "temperature 0.7, seeded"], shown)
