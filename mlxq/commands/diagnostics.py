"""What ``mlxq doctor`` checks on this machine: one finding a check, with its fix.

MLX runs in a process of its own: a broken one must not crash the command. Prints nothing.
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
    """The result of one check; ``fix`` is empty when nothing is wrong."""

    check: str
    state: State
    detail: str
    fix: str = ""


def machine() -> Finding:
    system, kind = platform.system(), platform.machine()
    release = f"{system} {platform.mac_ver()[0] or platform.release()}, {kind}"
    if system == "Darwin" and kind != "arm64":
        fix = (
            "use a Mac with Apple silicon and a Python built for it (this one may run under "
            "Rosetta)"
        )
        return Finding("platform", "problem", release, fix)
    if system == "Darwin" and int(platform.mac_ver()[0].split(".")[0]) < 14:
        return Finding(
            "platform", "problem", release, "update to macOS 14 or newer, which MLX needs"
        )
    if system not in ("Darwin", "Linux"):
        return Finding(
            "platform", "problem", release, "run the service on Apple silicon or on Linux"
        )
    return Finding("platform", "ok", release)


def python() -> Finding:
    # With an older Python this code doesn't run.
    return Finding("Python", "ok", f"{platform.python_version()} at {sys.executable}")


def packages() -> Finding:
    installed, missing = [], []
    for name in _PACKAGES:
        try:
            installed.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    if missing:
        names = f"not installed: {', '.join(missing)}"
        return Finding(
            "packages",
            "problem",
            names,
            "start the service once with scripts/serve, which installs them",
        )
    return Finding("packages", "ok", ", ".join(installed))


def mlx_device(probe: str = _PROBE) -> Finding:
    """Whether MLX can compute here, and on what."""
    from mlxq.service.launch import tune_for_linux
    from wire.processes.code_path import code_path

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
        device = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        silence = f"no answer within {MLX_LIMIT_S:.0f} s"
        return Finding(
            "MLX",
            "problem",
            silence,
            "restart the machine; if that doesn't help, install mlx again",
        )
    except ValueError:
        last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        return Finding(
            "MLX", "problem", last, "remove .venv and start scripts/serve, which installs it again"
        )
    if sys.platform == "darwin" and not device["metal"]:
        return Finding(
            "MLX",
            "warning",
            f"{device['device']}, without Metal",
            "run it outside of a virtual machine",
        )
    return Finding("MLX", "ok", f"computes on {device['device']}")


def blas() -> Finding:
    """What MLX multiplies with on a CPU."""
    from mlxq.service.blas import openblas, with_openblas

    library = openblas()
    if str(library) in with_openblas(os.environ).get("LD_PRELOAD", "").split(":"):
        return Finding("BLAS", "ok", f"OpenBLAS at {library}")
    if library is not None:
        fix = "unset LD_PRELOAD, which is set to nothing"
        return Finding("BLAS", "warning", "MLX's own, which is slower than OpenBLAS", fix)
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
    limit = f"at most {hard}, and each stream takes one"
    fix = (
        "raise the hard limit: `ulimit -Hn`, LimitNOFILE= of systemd, or --ulimit nofile=65536 "
        "of a container"
    )
    return Finding("open files", "problem" if hard < FILES_LOW else "warning", limit, fix)


def redis(settings: Settings) -> Finding:
    """The configured Redis, or the binary that would be started."""
    from mlxq.service.embedded_redis import find_server
    from wire.redis_server import RedisUnusable, check

    try:
        if settings.redis_url:
            check(settings.redis_url)
            # The URL may hold a password.
            address = urllib.parse.urlsplit(settings.redis_url)
            return Finding(
                "Redis", "ok", f"{address.hostname or address.path} answers and never evicts data"
            )
        return Finding("Redis", "ok", f"embedded: {find_server()}")
    except RedisUnusable as problem:
        return Finding(
            "Redis", "problem", str(problem), "start it, or unset REDIS_URL to use the embedded one"
        )


def disk(settings: Settings) -> Finding:
    """The data folder, or the parent that it would be created in."""
    folder = settings.data.resolve()
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    space = f"{size(free)} free at {folder}"
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        return Finding(
            "disk", "problem", f"{existing} is not writable", "choose another folder with --data"
        )
    if free < DISK_LOW:
        return Finding(
            "disk", "problem", space, "free some space, or choose another folder with --data"
        )
    if free < DISK_TIGHT:
        return Finding(
            "disk",
            "warning",
            space,
            "models need several GB each: free some space before you download one",
        )
    return Finding("disk", "ok", space)


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
    configs = {config for pattern in patterns for config in folder.glob(pattern)}
    # PUBLISHER/MODEL/config.json; a config.json below a model belongs to that model.
    configs |= {
        config
        for config in folder.glob("*/*/config.json")
        if config.parent.parent / "config.json" not in configs
        and any(config.parent.glob("*.safetensors"))
    }
    return len(configs)


def port(settings: Settings, answers: bool) -> Finding:
    """Whether the service could listen, or does."""
    from mlxq.service.launch import free_port
    from mlxq.service.supervisor import CannotStart

    address = f"{settings.host}, port {settings.port}"
    try:
        free_port(settings.host, settings.port)
    except CannotStart as problem:
        if answers:
            return Finding("port", "ok", f"{address}: the service listens")
        return Finding(
            "port",
            "problem",
            str(problem),
            "stop the program that listens there, or choose another --port",
        )
    return Finding("port", "ok", f"{address}: free")


def of_this_machine(settings: Settings, answers: bool) -> Iterator[Finding]:
    """Every check that needs no service.

    ``answers`` says whether a service answers at the settings' own address.
    """
    checks: list[Callable[[], Finding]] = [machine, python, packages, mlx_device, open_files]
    if sys.platform == "linux":
        checks += [blas, compiler]
    for check in checks:
        yield check()
    yield redis(settings)
    yield disk(settings)
    yield from model_folders(settings)
    yield port(settings, answers)
