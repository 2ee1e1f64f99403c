"""What the backends rely on of mlx, mlx_lm and mlx_vlm beside the caches (see
test_library_contract): a release that changes it fails here first."""

from __future__ import annotations

import inspect
from importlib import import_module

import mlx.core as mx
import mlx_vlm.models.qwen2_5_vl.vision as qwen_vision
import pytest
from mlx_lm.models import base
from mlx_lm.tokenizer_utils import TokenizerWrapper
from mlx_vlm.models import cache as vlm_cache
from mlx_vlm.models.qwen2_5_vl import qwen2_5_vl
from PIL import Image

from worker.backends.vision.own_code import register_configurations


def test_a_tokenizer_of_mlx_lm_has_the_one_of_transformers_inside() -> None:
    assert "_tokenizer" in inspect.getsource(TokenizerWrapper.__init__)


def test_a_quantised_cache_counts_its_tokens_in_idx() -> None:
    assert "self._idx" in inspect.getsource(vlm_cache.BatchQuantizedKVCache)


@pytest.mark.parametrize("family", ["glm4v", "qwen2_vl", "qwen3_vl", "paddleocr_vl"])
def test_a_language_model_keeps_positions_under_these_names(family: str) -> None:
    source = inspect.getsource(import_module(f"mlx_vlm.models.{family}.language"))
    assert "self._position_ids = None" in source
    assert "self._rope_deltas" in source
    assert 'kwargs.pop("position_ids", None)' in source
    assert 'kwargs.pop("rope_deltas", None)' in source


def test_ready_made_image_features_are_accepted_under_this_name() -> None:
    assert "cached_image_features" in inspect.getsource(qwen2_5_vl.Model.get_input_embeddings)


def test_a_vision_tower_is_a_list_of_blocks_with_an_attention_each() -> None:
    source = inspect.getsource(qwen_vision)
    assert "self.blocks" in source
    assert "self.attn" in source


def test_siglip_2_has_an_image_processor_without_torchvision() -> None:
    register_configurations()
    module = import_module("transformers.models.siglip2.image_processing_siglip2")
    made = module.Siglip2ImageProcessor(patch_size=14, max_num_patches=16)
    assert {"pixel_values", "pixel_attention_mask", "spatial_shapes"} == set(
        made([Image.new("RGB", (56, 56))], return_tensors="np")
    )


def test_attention_is_called_by_its_place_in_the_library() -> None:
    """The function is replaced in its module for the duration of a block; a name imported from the
    module would keep the old one."""
    assert callable(mx.fast.scaled_dot_product_attention)
    assert "mx.fast.scaled_dot_product_attention" in inspect.getsource(base)
