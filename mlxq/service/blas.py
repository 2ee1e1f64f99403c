"""The OpenBLAS that MLX multiplies with on Linux without a GPU, in place of its wheel's BLAS, whose
products in 32 bits take 10 to 30 times as long."""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path

_CPU_INFO = Path("/proc/cpuinfo")


def openblas() -> Path | None:
    """The one that Debian installs, without threads: MLX has threads of its own. Else the one of
    opencv-python, which mlx_vlm installs."""
    if sys.platform != "linux":
        return None
    debian = Path(
        "/usr/lib", str(sysconfig.get_config_var("MULTIARCH")), "openblas-serial/libblas.so.3"
    )
    return debian if debian.exists() else _of_opencv()


def _of_opencv() -> Path | None:
    packages = Path(sysconfig.get_path("platlib"))
    return next(packages.glob("opencv_python*.libs/libopenblas*.so*"), None)


def with_openblas(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of a process that computes with MLX, with OpenBLAS where there is one. An
    ``LD_PRELOAD`` that is set to nothing keeps the wheel's."""
    before, library = environment.get("LD_PRELOAD"), openblas()
    if library is None or before == "":
        return dict(environment)
    others = [other for other in (before or "").split(":") if other not in ("", str(library))]
    tuned = {"LD_PRELOAD": ":".join([*others, str(library)])}
    if library == _of_opencv():
        tuned |= {"OPENBLAS_NUM_THREADS": "1"} | _core_type()
    return {**tuned, **environment, "LD_PRELOAD": tuned["LD_PRELOAD"]}


def _core_type() -> dict[str, str]:
    """opencv-python's OpenBLAS is of 2021 and takes newer processors for ones without AVX: half as
    fast."""
    flags = set(_CPU_INFO.read_text("utf-8").split()) if _CPU_INFO.exists() else set()
    return {"OPENBLAS_CORETYPE": "Haswell"} if {"avx2", "fma"} <= flags else {}
