"""The figures as Markdown tables, with ratios and their targets."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

from scripts.benchmarks.parts.equal_text import SEQUENCES, Row
from scripts.benchmarks.parts.table import table
from scripts.benchmarks.parts.text import BATCH
from scripts.benchmarks.parts.vision import CHATS
from scripts.benchmarks.systems.plan import (
    BATCH_PROMPTS,
    CLIENTS,
    GREEDY,
    SAMPLED,
    SAMPLINGS,
    SEEDED,
    Figures,
    Results,
    Sampling,
)

NOTHING = "–"


@dataclass(slots=True)
class Measured:
    """The results of one run by system."""

    limit: Results = field(default_factory=dict)
    peer: Results = field(default_factory=dict)
    ours: Results = field(default_factory=dict)
    equal: list[Row] = field(default_factory=list)
    blas: list[str] = field(default_factory=list)
    """What each system computed with, as its process reports."""


def report(found: Measured, measured: str) -> str:
    """All tables for which something was measured. ``measured`` has the line below each title:
    when, and how often."""
    parts = [
        _throughput(found, sampling) for sampling in SAMPLINGS if f"{sampling.name} 1" in found.ours
    ]
    if "warm" in found.ours:
        parts.append(_second_turn(found))
    if "join" in found.ours:
        parts.append(_join(found))
    if "stop one" in found.ours:
        parts.append(_stop(found.ours))
    if "batch" in found.ours:
        parts.append(_batch(found))
    if "images together" in found.ours:
        parts.append(_vision(found.ours))
    if "start" in found.ours:
        parts.append(_start(found.ours["start"]))
    if "durable" in found.ours:
        parts.append(_durability(found.ours))
    return "\n\n".join(part.replace("\n\n", f"\n\n{measured}\n\n", 1) for part in parts)


def _throughput(found: Measured, sampling: Sampling) -> str:
    name = {
        GREEDY: "Greedy",
        SAMPLED: "Temperature 0.7, top_p 0.9",
        SEEDED: "The same, each request with a seed",
    }
    rows = []
    for clients in CLIENTS:
        key = f"{sampling.name} {clients}"
        # mlx_lm has no seed a row; what a seed costs us shows against the limit without seeds.
        limit, peer, ours = found.limit.get(key), found.peer.get(key), found.ours[key]
        times = [_ttft(limit), _ttft(peer), _ttft(ours), *_later(limit, peer, ours, clients)]
        rows.append([f"{clients}", "TTFT p50 / p95, ms", *times])
        rows.append([f"{clients}", "tokens/s", _rate(limit), _rate(peer), _rate(ours)])
        rows[-1] += _faster(limit, peer, ours, clients, sampling)
    head = [
        "clients",
        "",
        "in-process",
        "mlx_lm.server",
        "ours",
        "ours / in-process",
        "ours / server",
        "target",
        "met",
    ]
    return f"### {name[sampling]}\n\n" + table(head, rows)


def _later(limit: Figures | None, peer: Figures | None, ours: Figures, clients: int) -> list[str]:
    """How TTFT compares; with more than one client it has no target."""
    more = [(p50(ours.ttft) - p50(other.ttft)) * 1000 if other else None for other in (limit, peer)]
    shown = [NOTHING if value is None else f"{value:+.1f} ms" for value in more]
    if clients > 1 or more[0] is None:
        return [*shown, NOTHING, NOTHING]
    return [*shown, "≤ +10 ms of in-process", _met(more[0] <= 10)]


def _faster(
    limit: Figures | None, peer: Figures | None, ours: Figures, clients: int, sampling: Sampling
) -> list[str]:
    """Ratios of tokens per second and their targets."""
    to_limit = paired(ours.rate, limit.rate) if limit else None
    to_peer = paired(ours.rate, peer.rate) if peer else None
    wanted, checks = [], []
    if clients > 1 and to_limit is not None and not sampling.seeded:
        wanted.append("≥ 80 % of in-process")
        checks.append(to_limit >= 0.8)
    if clients > 1 and to_peer is not None and (not sampling.seeded or clients == 8):
        least = 3.0 if sampling.seeded else 1.5
        wanted.append(f"≥ {least:g} × server")
        checks.append(to_peer >= least)
    shown = [f"{to_limit:.0%}" if to_limit else NOTHING, f"{to_peer:.2f} ×" if to_peer else NOTHING]
    return [*shown, ", ".join(wanted) or NOTHING, ", ".join(map(_met, checks)) or NOTHING]


def _second_turn(found: Measured) -> str:
    rows = []
    for name, results in (
        ("in-process", found.limit),
        ("mlx_lm.server", found.peer),
        ("ours", found.ours),
    ):
        if "warm" in results:
            share = paired(results["warm"].ttft, results["cold"].ttft)
            goal = ["≤ 20 %", _met(share <= 0.2)] if results is found.ours else [NOTHING, NOTHING]
            rows.append(
                [name, _ttft(results["cold"]), _ttft(results["warm"]), f"{share:.0%}", *goal]
            )
    head = ["", "cold, ms", "warm, ms", "warm / cold", "target", "met"]
    return "### TTFT of turn 2 of a conversation of about 1,700 tokens (p50 / p95)\n\n" + table(
        head, rows
    )


def _join(found: Measured) -> str:
    rows = []
    for name, results in (("mlx_lm.server", found.peer), ("ours", found.ours)):
        if "join" in results:
            times = paired(results["join"].ttft, results["join alone"].ttft)
            goal = ["≤ 3 ×", _met(times <= 3)] if results is found.ours else [NOTHING, NOTHING]
            rows.append(
                [
                    name,
                    _ttft(results["join alone"]),
                    _ttft(results["join"]),
                    f"{times:.1f} ×",
                    *goal,
                ]
            )
    head = ["", "alone, ms", "joining, ms", "joining / alone", "target", "met"]
    return f"### TTFT of a request that joins {BATCH} running streams (p50 / p95)\n\n" + table(
        head, rows
    )


def _durability(ours: Results) -> str:
    durable, plain = ours["durable"], ours["plain"]
    cost = 1 - p50(durable.rate) / p50(plain.rate)
    rows = [
        ["tokens/s", _rate(durable), _rate(plain), f"{cost:.1%}", "≤ 3 %", _met(cost <= 0.03)],
        ["TTFT p50 / p95, ms", _ttft(durable), _ttft(plain), *[NOTHING] * 3],
    ]
    head = ["32 clients, greedy", "with the log", "plain PUBLISH", "cost", "target", "met"]
    return "### The durable token log against publishing alone\n\n" + table(head, rows)


def _stop(ours: Results) -> str:
    cases = ((f"one of {BATCH}", "stop one"), (f"the other {BATCH - 1}", "stop all"))
    rows = [
        [name, _ttft(ours[key]), "≤ 250 ms", _met(p50(ours[key].ttft) <= 0.25)]
        for name, key in cases
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
            _rate(ours),
            _rate(limit),
            f"{share:.0%}",
            "≥ 95 %",
            _met(share >= 0.95),
        ],
        [
            "TTFT of a chat while it runs, against none running, p50 / p95, ms",
            _ttft(beside),
            _ttft(alone),
            f"{times:.1f} × at p95",
            "≤ 2 ×",
            _met(times <= 2),
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
            _rate(together),
            _rate(in_turn),
            f"{speedup:.2f} ×",
            "≥ 2 ×",
            _met(speedup >= 2),
        ],
        [
            "turn 2 about the same image against cold, TTFT p50 / p95, ms",
            _ttft(ours["image warm"]),
            _ttft(ours["image cold"]),
            f"{share:.0%}",
            "≤ 33 %",
            _met(share <= 1 / 3),
        ],
        [
            f"longest silence of a text stream while {CHATS} image chats join, against alone, "
            f"p50 / p95, ms",
            _ttft(ours["stall"]),
            _ttft(ours["stall alone"]),
            NOTHING,
            NOTHING,
            NOTHING,
        ],
    ]
    return "### Images\n\n" + table(["", "", "against", "ratio", "target", "met"], rows)


def _start(figures: Figures) -> str:
    seconds = p50(figures.ttft)
    rows = [[f"{seconds:.1f} / {max(figures.ttft):.1f}", "≤ 10 s", _met(seconds <= 10)]]
    title = "### From the start of `scripts/serve` to the first token of the line it prints"
    return f"{title}\n\n" + table(["median / longest, s", "target", "met"], rows)


def equal_answers(rows: Sequence[Row]) -> str:
    """The table of equal answers."""
    shown = [[dtype, blas, f"{g}/{SEQUENCES}", f"{s}/{SEQUENCES}"] for blas, dtype, g, s in rows]
    return table(["weights", "BLAS", "greedy", "temperature 0.7, seeded"], shown)


def p50(values: Sequence[float]) -> float:
    return statistics.median(values)


def paired(values: Sequence[float], others: Sequence[float]) -> float:
    """The median of the ratios of what was measured in the same round: the machine's drift affects
    both, and cancels out."""
    return statistics.median(value / other for value, other in zip(values, others, strict=True))


def p95(values: Sequence[float]) -> float:
    """The nearest-rank percentile: a value that was measured."""
    return sorted(values)[max(0, -(-len(values) * 95 // 100) - 1)]


def _ttft(figures: Figures | None) -> str:
    return (
        f"{p50(figures.ttft) * 1000:.1f} / {p95(figures.ttft) * 1000:.1f}" if figures else NOTHING
    )


def _rate(figures: Figures | None) -> str:
    return f"{p50(figures.rate):,.0f}" if figures else NOTHING


def _met(yes: bool) -> str:
    return "yes" if yes else "**no**"
