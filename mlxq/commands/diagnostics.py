"""What ``mlxq doctor`` looks at on this machine, one finding a check, each with its fix.

MLX is asked in a process of its own: a broken one must not take the doctor with it. Prints nothing.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from mlxq.output import plural, size
from wire.settings import Settings

State = Literal["ok", "warning", "problem"]

MLX_LIMIT_S = 120.0
"""The first import after an installation reads hundreds of megabytes."""
FILES_LOW, FILES_TIGHT = 256, 4096
"""Open files: each stream to a client is one, and each model has several."""
DISK_LOW, DISK_TIGHT = 1 << 30, 10 << 30
_PACKAGES = ("mlx", "mlx-lm", "mlx-vlm", "rq", "redis")
_PROBE = """
import json, resource, mlx.core as mx
# mlx_lm wants more open files than there may be; the worker does with less.
resource.setrlimit = lambda *_: None
import mlx_lm, mlx_vlm
x = mx.ones((64, 64))
assert (x @ x).sum().item() == 64 ** 3
print(json.dumps({"device": str(mx.default_device()), "metal": mx.metal.is_available()}))
"""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. ``fix`` is what to do, empty when all is well."""

    check: str
    state: State
    detail: str
    fix: str = ""


def machine() -> Finding:
    system, kind = platform.system(), platform.machine()
    told = f"{system} {platform.mac_ver()[0] or platform.release()}, {kind}"
    if system == "Darwin" and kind != "arm64":
        fix = (
            "use a Mac with Apple silicon and a Python built for it (this one may run under "
            "Rosetta)"
        )
        return Finding("platform", "problem", told, fix)
    if system == "Darwin" and int(platform.mac_ver()[0].split(".")[0]) < 14:
        return Finding("platform", "problem", told, "update to macOS 14 or newer, which MLX needs")
    if system not in ("Darwin", "Linux"):
        return Finding("platform", "problem", told, "run the service on Apple silicon or on Linux")
    return Finding("platform", "ok", told)


def python() -> Finding:
    # An older one than 3.11 doesn't get as far as this.
    return Finding("Python", "ok", f"{platform.python_version()} at {sys.executable}")


def packages() -> Finding:
    found, missing = [], []
    for name in _PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    if missing:
        told = f"not installed: {', '.join(missing)}"
        return Finding(
            "packages",
            "problem",
            told,
            "start the service once with scripts/serve, which installs them",
        )
    return Finding("packages", "ok", ", ".join(found))


def mlx_device(probe: str = _PROBE) -> Finding:
    """Whether MLX can compute here, and on what."""
    from mlxq.service.launch import code_path, tune_for_linux

    try:
        command = [sys.executable, "-P", "-c", probe]
        path = code_path(os.environ.get("PYTHONPATH", ""))
        environment = tune_for_linux({**os.environ, "PYTHONPATH": path})
        done = subprocess.run(
            command,
            env=environment,
            capture_output=True,
            text=True,
            timeout=MLX_LIMIT_S,
            check=False,
        )
        told = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        told = f"no answer within {MLX_LIMIT_S:.0f} s"
        return Finding(
            "MLX", "problem", told, "restart the machine; if that doesn't help, install mlx again"
        )
    except ValueError:
        last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        return Finding(
            "MLX", "problem", last, "remove .venv and start scripts/serve, which installs it again"
        )
    if sys.platform == "darwin" and not told["metal"]:
        return Finding(
            "MLX",
            "warning",
            f"{told['device']}, without Metal",
            "run it outside of a virtual machine",
        )
    return Finding("MLX", "ok", f"computes on {told['device']}")


def blas() -> Finding:
    """What MLX multiplies with on a CPU."""
    from mlxq.service.launch import openblas

    found = openblas()
    if found.exists():
        return Finding("BLAS", "ok", f"OpenBLAS at {found}")
    fix = "apt install libopenblas0-serial (Debian, Ubuntu); the service finds it by itself"
    return Finding("BLAS", "warning", "MLX's own, which is slower than OpenBLAS", fix)


def compiler() -> Finding:
    """What MLX compiles its kernels with on Linux; the service does without when it has to."""
    from mlxq.service.launch import compiler_works

    if compiler_works():
        return Finding("compiler", "ok", "g++ works")
    return Finding(
        "compiler",
        "warning",
        "g++ is missing or broken",
        "apt install g++: fused kernels are faster",
    )


def open_files() -> Finding:
    """How many files a process may have open: the service raises its limit as far as this."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY or hard >= FILES_TIGHT:
        return Finding(
            "open files", "ok", "no limit" if hard == resource.RLIM_INFINITY else f"up to {hard}"
        )
    told = f"at most {hard}, and each stream takes one"
    fix = (
        "raise the hard limit: `ulimit -Hn`, LimitNOFILE= of systemd, or --ulimit nofile=65536 "
        "of a container"
    )
    return Finding("open files", "problem" if hard < FILES_LOW else "warning", told, fix)


def redis(settings: Settings) -> Finding:
    """The Redis that is named, or the one that would be started."""
    from mlxq.service.embedded_redis import find_server
    from wire.redis_server import RedisUnusable, check

    try:
        if settings.redis_url:
            check(settings.redis_url)
            # The address may hold a password.
            place = urllib.parse.urlsplit(settings.redis_url)
            return Finding(
                "Redis", "ok", f"{place.hostname or place.path} answers and keeps what it is given"
            )
        return Finding("Redis", "ok", f"embedded: {find_server()}")
    except RedisUnusable as problem:
        return Finding(
            "Redis", "problem", str(problem), "start it, or unset REDIS_URL to use the embedded one"
        )


def disk(settings: Settings) -> Finding:
    """The data folder, or the folder that it would be made in."""
    folder = settings.data.resolve()
    there = next(place for place in (folder, *folder.parents) if place.exists())
    free = shutil.disk_usage(there).free
    told = f"{size(free)} free at {folder}"
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        return Finding(
            "disk", "problem", f"{there} can't be written to", "choose another folder with --data"
        )
    if free < DISK_LOW:
        return Finding("disk", "problem", told, "make room, or choose another folder with --data")
    if free < DISK_TIGHT:
        return Finding(
            "disk",
            "warning",
            told,
            "models need several GB each: make room before you download one",
        )
    return Finding("disk", "ok", told)


def model_folders(settings: Settings) -> Iterator[Finding]:
    """Each configured folder, and how many models are in it."""
    if not settings.models:
        fix = "name a folder of models with `mlxq serve --models` or MLXQ_MODELS"
        yield Finding("models", "warning", "no model folder: only the shipped demo models", fix)
    for folder in settings.models:
        try:
            count = _models_in(folder)
        except OSError as error:
            fix = "correct --models or MLXQ_MODELS, or mount the disk"
            yield Finding("models", "problem", f"{folder}: {error.strerror}", fix)
            continue
        if count:
            yield Finding("models", "ok", f"{plural(count, 'model')} in {folder}")
        else:
            fix = "put a model's folder, with its config.json, below it"
            yield Finding("models", "warning", f"no model in {folder}", fix)


def _models_in(folder: Path) -> int:
    os.scandir(folder).close()  # Says why a folder can't be read; glob would find nothing in it.
    patterns = ("config.json", "*/config.json", "models--*--*/snapshots/*/config.json")
    found = {config for pattern in patterns for config in folder.glob(pattern)}
    # In the folder of whoever publishes it; what lies below a model are its parts.
    found |= {
        config
        for config in folder.glob("*/*/config.json")
        if config.parent.parent / "config.json" not in found
        and any(config.parent.glob("*.safetensors"))
    }
    return len(found)


def port(settings: Settings, answers: bool) -> Finding:
    """Whether the service could listen, or does."""
    from mlxq.service.launch import free_port
    from mlxq.service.supervisor import CannotStart

    place = f"{settings.host}, port {settings.port}"
    try:
        free_port(settings.host, settings.port)
    except CannotStart as problem:
        if answers:
            return Finding("port", "ok", f"{place}: the service listens")
        return Finding(
            "port",
            "problem",
            str(problem),
            "end the program that listens there, or choose another --port",
        )
    return Finding("port", "ok", f"{place}: free")


def of_this_machine(settings: Settings, answers: bool) -> Iterator[Finding]:
    """Every check that needs no service. ``answers`` says whether one does at the settings' own
    address."""
    checks: list[Callable[[], Finding]] = [machine, python, packages, mlx_device, open_files]
    if sys.platform == "linux":
        checks += [blas, compiler]
    for check in checks:
        yield check()
    yield redis(settings)
    yield disk(settings)
    yield from model_folders(settings)
    yield port(settings, answers)
