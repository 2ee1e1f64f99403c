"""DoRA adapters of mlx_lm's tuner: the sums of its own layer, beside rows of LoRAs and of none."""

from __future__ import annotations

import json
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import pytest
from mlx_lm import load
from mlx_lm.tuner.dora import DoRALinear

from tests.mlx.adapters.conftest import AdapterBench
from tests.mlx.adapters.test_rows import GREEDY, TEXTS, library
from wire.model_registry import ModelRecord
from worker.backends.adapters.files import read_adapter
from worker.backends.adapters.layers import AdaptedLinear, RowAdapters
from worker.models.adapters.found import describe

KEYS = ["self_attn.q_proj", "self_attn.o_proj", "mlp.down_proj"]
SCALE = 3.0


def written(folder: Path, model: nn.Module, base: str, layers: int) -> Path:
    """A DoRA with drawn factors and magnitudes."""
    mx.random.seed(3)
    tensors = {}
    for path, module in model.named_modules():
        if not path.endswith(tuple(KEYS)):
            continue
        drawn = DoRALinear.from_base(module, r=4, scale=SCALE)
        outputs = drawn.m.shape[0]
        tensors[f"{path}.lora_a"] = drawn.lora_a
        tensors[f"{path}.lora_b"] = 0.6 * mx.random.normal(drawn.lora_b.shape)
        tensors[f"{path}.m"] = drawn.m * mx.random.uniform(0.6, 1.4, (outputs,))
    parameters = {"rank": 4, "scale": SCALE, "dropout": 0.0, "keys": KEYS}
    config = {"fine_tune_type": "dora", "model": base, "num_layers": layers}
    folder.mkdir()
    (folder / "adapter_config.json").write_text(
        json.dumps(config | {"lora_parameters": parameters})
    )
    mx.save_safetensors(str(folder / "adapters.safetensors"), tensors)
    return folder


@pytest.mark.parametrize("quantised", [False, True], ids=["plain", "quantised"])
def test_a_layer_computes_what_the_librarys_does(tmp_path: Path, quantised: bool) -> None:
    mx.random.seed(2)
    model = nn.Module()
    model.q_proj = nn.Linear(64, 48)
    model.q_proj.bias = mx.random.normal((48,))
    if quantised:
        nn.quantize(model, group_size=32, bits=4)
    tensors = {
        "q_proj.lora_a": mx.random.normal((64, 4)),
        "q_proj.lora_b": mx.random.normal((4, 48)),
        "q_proj.m": mx.random.uniform(1, 2, (48,)),
    }
    config = {"fine_tune_type": "dora", "lora_parameters": {"scale": SCALE}}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    mx.save_safetensors(str(tmp_path / "adapters.safetensors"), tensors)
    theirs = DoRALinear.from_base(model.q_proj, r=4, scale=SCALE)
    theirs.update({name.removeprefix("q_proj."): one for name, one in tensors.items()})
    rows = RowAdapters()
    ours = AdaptedLinear("q_proj", model.q_proj, rows)
    read = read_adapter(tmp_path, dict(model.named_modules()))
    ours.put("dora", read.deltas["q_proj"])
    rows.scales["dora"] = read.scale
    rows.set(["dora", None])
    x = mx.random.normal((2, 3, 64))
    assert mx.allclose(ours(x)[0], theirs(x)[0], rtol=1e-4, atol=1e-4)
    assert mx.array_equal(ours(x)[1], model.q_proj(x)[1])


def test_a_row_says_what_mlx_lm_says_with_it_beside_a_lora(
    base: ModelRecord, adapters: dict[str, ModelRecord], tmp_path: Path
) -> None:
    model, tokenizer = load(base.path)
    folder = written(tmp_path / "dora", model, base.path, len(model.layers))
    dora = describe(folder, [base])
    assert dora.problem == ""
    pirate = adapters["pirate"]
    bench = AdapterBench(base)
    bench.attach(pirate)
    alone = [bench.answer_with(one, TEXTS[1], **GREEDY) for one in (None, pirate)]
    bench.forget()
    plain_bytes = bench.backend.weight_bytes
    bench.attach(dora)
    rows = [(one, text) for one in (None, pirate, dora) for text in TEXTS]
    chats = [bench.chat_with(one, text, **GREEDY) for one, text in rows]
    bench.start(*chats)
    bench.run()
    adapted, _ = load(base.path, adapter_path=str(folder))
    ends = {int(token) for token in tokenizer.eos_token_ids}
    for chat in chats[-len(TEXTS) :]:
        assert chat.generated == library(adapted, chat.prompt_ids, ends)
    beside = [chats[1].generated, chats[len(TEXTS) + 1].generated]
    assert beside == alone
    assert chats[-2].generated not in beside
    assert bench.backend.adapters is not None
    bench.backend.adapters.detach(dora.id)
    assert bench.backend.weight_bytes == plain_bytes
    bench.forget()
    assert bench.answer_with(pirate, TEXTS[1], **GREEDY) == alone[1]
