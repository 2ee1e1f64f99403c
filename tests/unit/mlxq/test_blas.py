"""Which OpenBLAS a worker is started with on Linux."""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path

import pytest

from mlxq.service import blas


@pytest.fixture
def bundled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The library of opencv-python, on a machine without Debian's."""
    library = tmp_path / "opencv_python.libs/libopenblasp-r0-1.so"
    library.parent.mkdir()
    library.touch()
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(sysconfig, "get_config_var", lambda _: "no-such-machine")
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(tmp_path))
    info = tmp_path / "cpuinfo"
    info.write_text("flags : fma avx2\n", "utf-8")
    monkeypatch.setattr(blas, "_CPU_INFO", info)
    return library


def test_the_library_of_opencv_is_preloaded_with_one_thread_and_its_best_kernels(
    bundled: Path,
) -> None:
    tuned = blas.with_openblas({"A": "1"})
    assert tuned == {
        "A": "1",
        "LD_PRELOAD": str(bundled),
        "OPENBLAS_NUM_THREADS": "1",
        "OPENBLAS_CORETYPE": "Haswell",
    }
    blas._CPU_INFO.unlink()
    assert "OPENBLAS_CORETYPE" not in blas.with_openblas({})


def test_what_the_environment_sets_is_kept(bundled: Path) -> None:
    mine = {"LD_PRELOAD": "/mine.so", "OPENBLAS_NUM_THREADS": "2", "OPENBLAS_CORETYPE": "Zen"}
    assert blas.with_openblas(mine) == {**mine, "LD_PRELOAD": f"/mine.so:{bundled}"}
    assert blas.with_openblas(blas.with_openblas(mine)) == blas.with_openblas(mine)
    assert blas.with_openblas({"LD_PRELOAD": ""}) == {"LD_PRELOAD": ""}
    bundled.unlink()
    assert blas.with_openblas({}) == {}
