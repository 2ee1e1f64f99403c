"""The text side of a model whose template and tokens have tools."""

from __future__ import annotations

import pytest
from tokenizers import AddedToken

from scripts.training.random_text_model import train_tokenizer
from tests.mlx.text.test_tools_template import MARKS, TEMPLATE
from tests.mlx.text.tokenisers import loaded
from worker.backends.prompting.text import LmText


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> LmText:
    made = train_tokenizer(600, (), TEMPLATE)
    made.add_tokens([AddedToken(mark, special=False, normalized=False) for mark in MARKS])
    return loaded(made, tmp_path_factory.mktemp("tokenizer"))
