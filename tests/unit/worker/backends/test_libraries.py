"""Which library runs which model type: what the installed ones have decides."""

from __future__ import annotations

import subprocess
import sys

import pytest

from worker.backends.libraries import code_of, library_of


@pytest.mark.parametrize(
    ("model_type", "sees_images", "library"),
    [
        ("llama", False, "mlx_lm"),
        ("mistral", False, "mlx_lm"),
        ("lille-130m", False, "mlx_lm"),
        ("qwen3_5", False, "mlx_lm"),
        ("qwen3_5", True, "mlx_vlm"),
        ("gemma4", False, "mlx_lm"),
        ("qwen3_5_text", False, "mlx_vlm"),
        ("cohere2_moe", False, "mlx_vlm"),
        ("glm5_next", False, "mlx_vlm"),
        ("mimo_v2", False, "mlx_vlm"),
        ("mistral_large3", False, "mlx_vlm"),
        ("llava_qwen2", True, "mlx_vlm"),
        ("no such type", False, "mlx_lm"),
    ],
)
def test_types_that_one_library_alone_has_go_to_it(
    model_type: str, sees_images: bool, library: str
) -> None:
    assert library_of(model_type, sees_images) == library


def test_a_type_may_be_another_ones_code() -> None:
    for library, model_type, code in (
        ("mlx_lm", "mistral", "llama.py"),
        ("mlx_vlm", "llava_qwen2", "fastvlm"),
        ("mlx_vlm", "moondream1", "moondream2"),
    ):
        found = code_of(library, model_type)  # type: ignore[arg-type]
        assert found is not None
        assert found.name == code


def test_no_library_is_imported_to_find_out() -> None:
    code = (
        "import sys; from worker.models.model_config import context_window; "
        "context_window({'model_type': 'gemma3'}); "
        "print([m for m in sys.modules if m.split('.')[0] in ('mlx', 'mlx_lm', 'mlx_vlm', "
        "'transformers')])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
