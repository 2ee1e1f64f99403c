"""The conditions of a run: the machine, the versions, the BLAS."""

from __future__ import annotations

import datetime
import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path

import psutil

from mlxq.service.blas import openblas

OPENBLAS = "OpenBLAS"
STOCK = "the one in MLX's wheel"
_BUSY_PERCENT = 5.0


def find_openblas() -> str:
    """The OpenBLAS that this service would compute with, or nothing."""
    return str(openblas() or "")


def blas_of(pid: int) -> str:
    """The BLAS that a running process computes with."""
    if sys.platform != "linux":
        return "Metal"
    # Not by what is mapped: numpy and OpenCV bring an OpenBLAS of their own.
    preloaded = psutil.Process(pid).environ().get("LD_PRELOAD", "").split(":")
    return OPENBLAS if str(openblas()) in preloaded else STOCK


def cpu() -> str:
    """The processor's name, where the system has one."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").split("\n")
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def conditions() -> list[str]:
    """Sentences for the head of the report."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("mlx", "mlx-lm", "mlx-vlm"))
    memory = psutil.virtual_memory().total / 2**30
    return [
        f"{cpu()}, {os.cpu_count()} cores, {memory:.0f} GiB; {platform.system()}, Python "
        f"{platform.python_version()}",
        versions,
    ]


def moment() -> str:
    """The time, and how busy the machine is, in sentences; takes a second to measure other
    processes' load."""
    load = ", ".join(f"{value:.2f}" for value in os.getloadavg())
    busy = psutil.cpu_percent(interval=1.0)
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    found = (
        f"{now}; load average at the start {load}, all processes together used {busy:.0f} % "
        f"of the machine just before"
    )
    if busy > _BUSY_PERCENT:
        found += (
            ". **Other work was running: these figures are no measurement of anything but "
            "the script**"
        )
    return found
