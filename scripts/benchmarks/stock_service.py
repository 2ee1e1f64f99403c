"""This service on the BLAS of MLX's wheel, although OpenBLAS is there: what mlxq.service.launch
preloads is taken away again."""

from __future__ import annotations

from mlxq.service.launch import main, part

if __name__ == "__main__":
    main(worker=["env", "-u", "LD_PRELOAD", *part("worker")])
