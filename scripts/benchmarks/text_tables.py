"""The tables of what is measured with a text model, with ratios and their targets."""

from __future__ import annotations

from scripts.benchmarks.cells import NOTHING, met, p50, paired, rate, ttft
from scripts.benchmarks.measured import Measured
from scripts.benchmarks.parts.text import BATCH
from scripts.benchmarks.systems.plan import (
    GREEDY,
    READ_TOKENS,
    REPEATS,
    SAMPLED,
    SEEDED,
    Figures,
    Sampling,
)
from scripts.benchmarks.table import table

GENERATED_SHARE, OWN_MODEL_SHARE = 0.8, 0.95
"""The least part of the in-process tokens per second."""


def throughput(found: Measured, sampling: Sampling) -> str:
    name = {
        GREEDY: "Greedy",
        SAMPLED: "Temperature 0.7, top_p 0.9",
        SEEDED: "The same, each request with a seed",
    }
    rows = []
    for clients in REPEATS:
        key = f"{sampling.name} {clients}"
        if key not in found.ours:
            continue
        # mlx_lm has no seed a row; what a seed costs us shows against the limit without seeds.
        limit, peer, ours = found.limit.get(key), found.peer.get(key), found.ours[key]
        times = [ttft(limit), ttft(peer), ttft(ours), *_later(limit, peer, ours, clients)]
        rows.append([f"{clients}", "TTFT p50 / p95, ms", *times])
        rows.append([f"{clients}", "tokens/s", rate(limit), rate(peer), rate(ours)])
        rows[-1] += _faster(found, key, clients, sampling)
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
    return [*shown, "≤ +10 ms of in-process", met(more[0] <= 10)]


def _faster(found: Measured, key: str, clients: int, sampling: Sampling) -> list[str]:
    """Ratios of tokens per second and their targets."""
    limit, peer, ours = found.limit.get(key), found.peer.get(key), found.ours[key]
    to_limit = paired(ours.rate, limit.rate) if limit else None
    to_peer = paired(ours.rate, peer.rate) if peer else None
    wanted, checks = [], []
    # Beside a token of a tiny model, the service's own work for it is long.
    least = GENERATED_SHARE if found.generated else OWN_MODEL_SHARE
    aimed_at = (clients > 1 or not found.generated) and not sampling.seeded
    if aimed_at and to_limit is not None:
        wanted.append(f"≥ {least:.0%} of in-process".replace("%", " %"))
        checks.append(to_limit >= least)
    compared = found.generated and clients > 1 and (not sampling.seeded or clients == 8)
    if compared and to_peer is not None:
        least = 3.0 if sampling.seeded else 1.5
        wanted.append(f"≥ {least:g} × server")
        checks.append(to_peer >= least)
    shown = [f"{to_limit:.0%}" if to_limit else NOTHING, f"{to_peer:.2f} ×" if to_peer else NOTHING]
    return [*shown, ", ".join(wanted) or NOTHING, ", ".join(map(met, checks)) or NOTHING]


def prefill(found: Measured) -> str:
    """The table of a prompt that takes long to read."""
    name = "prefill"
    limit, peer, ours = found.limit[name], found.peer[name], found.ours[name]
    more = [(p50(ours.ttft) - p50(other.ttft)) * 1000 for other in (limit, peer)]
    row = [ttft(limit), ttft(peer), ttft(ours), *(f"{value:+.1f} ms" for value in more)]
    head = ["in-process", "mlx_lm.server", "ours", "ours - in-process", "ours - server"]
    rows = [[*row, "≤ +10 ms of in-process", met(more[0] <= 10)]]
    title = f"### TTFT of a prompt of {READ_TOKENS:,} tokens (p50 / p95, ms)"
    return f"{title}\n\n" + table([*head, "target", "met"], rows)


def second_turn(found: Measured) -> str:
    rows = []
    for name, results in (
        ("in-process", found.limit),
        ("mlx_lm.server", found.peer),
        ("ours", found.ours),
    ):
        if "warm" in results:
            share = paired(results["warm"].ttft, results["cold"].ttft)
            goal = ["≤ 20 %", met(share <= 0.2)] if results is found.ours else [NOTHING, NOTHING]
            rows.append([name, ttft(results["cold"]), ttft(results["warm"]), f"{share:.0%}", *goal])
    head = ["", "cold, ms", "warm, ms", "warm / cold", "target", "met"]
    return "### TTFT of turn 2 of a conversation of about 1,700 tokens (p50 / p95)\n\n" + table(
        head, rows
    )


def join(found: Measured) -> str:
    rows = []
    for name, results in (("mlx_lm.server", found.peer), ("ours", found.ours)):
        if "join" in results:
            times = paired(results["join"].ttft, results["join alone"].ttft)
            goal = ["≤ 3 ×", met(times <= 3)] if results is found.ours else [NOTHING, NOTHING]
            rows.append(
                [
                    name,
                    ttft(results["join alone"]),
                    ttft(results["join"]),
                    f"{times:.1f} ×",
                    *goal,
                ]
            )
    head = ["", "alone, ms", "joining, ms", "joining / alone", "target", "met"]
    return f"### TTFT of a request that joins {BATCH} running streams (p50 / p95)\n\n" + table(
        head, rows
    )
