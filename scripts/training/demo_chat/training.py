"""The training loop: a time budget, one seed, and a checkpoint every few minutes."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
from mlx.utils import tree_flatten
from mlx_lm.models import qwen3
from transformers import AutoTokenizer

from .batches import Batch, BatchSource
from .model import (
    VOCABULARY,
    build_config,
    build_model,
    check_forward,
    hidden_states,
    log_partition,
    save,
)
from .tokenizer import train_tokenizer


@dataclass(frozen=True)
class Plan:
    """How long to train and how."""

    minutes: float
    seed: int
    out: Path
    start_from: Path | None = (
        None  # a model of this script, to train on with what the corpus has gained since
    )
    continued_share: float = 0.5  # of the full learning rate, where such a run starts
    checkpoint_minutes: float = 5.0
    batch_positions: int = 3072
    matrix_rate: float = 0.02
    other_rate: float = 0.003
    warm_up_steps: int = 30
    flat_share: float = 0.4  # of the time at the full learning rate; then it falls in a line
    partition_weight: float = 2e-3


def batch_loss(
    model: qwen3.Model,
    tokens: mx.array,
    positions: mx.array,
    targets: mx.array,
    partition_weight: float,
) -> mx.array:
    """Give the cross entropy, plus a pull of each row's partition function towards one.

    The repetition penalty divides the logit of a token seen before (or multiplies it, if negative). With a partition
    function of one a logit is a log-probability: a sure token has a logit near zero, where the penalty does nothing,
    so counting and names repeated from the prompt survive it.
    """
    states = hidden_states(model, tokens)
    chosen = states.reshape(-1, states.shape[-1])[positions]
    logits = model.model.embed_tokens.as_linear(chosen)
    total = log_partition(logits)
    right = mx.take_along_axis(logits, targets[:, None], axis=-1)[:, 0]
    return (total - right).mean() + partition_weight * mx.square(total).mean()


def _optimizer(plan: Plan) -> tuple[optim.MultiOptimizer, Callable[[float], None]]:
    """Muon for the matrices, AdamW for the embedding and the norms; and a function that scales both rates."""
    muon = optim.Muon(learning_rate=plan.matrix_rate, momentum=0.95, weight_decay=0.0)
    adam = optim.AdamW(learning_rate=plan.other_rate, betas=[0.9, 0.98], weight_decay=0.0)
    both = optim.MultiOptimizer(
        [muon, adam], [lambda name, value: value.ndim == 2 and "embed" not in name]
    )

    def scale(factor: float) -> None:
        muon.learning_rate = mx.array(plan.matrix_rate * factor)
        adam.learning_rate = mx.array(plan.other_rate * factor)

    return both, scale


def rate_factor(plan: Plan, step: int, progress: float) -> float:
    """Give the learning rate's factor: a short rise, a plateau, a straight fall to almost nothing."""
    rise = min(1.0, (step + 1) / plan.warm_up_steps)
    if plan.start_from is not None:
        return rise * max(0.01, plan.continued_share * (1 - progress))
    fall = min(1.0, (1 - progress) / (1 - plan.flat_share))
    return rise * max(0.01, fall)


def _stage(progress: float) -> float:
    """Give the corpus' stage: short gaps first, all gaps after the first eighth."""
    return 0.0 if progress < 0.04 else 0.5 if progress < 0.12 else 1.0


class Trainer:
    """Holds what a run needs and steps through it."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        if plan.start_from is None:
            self.tokenizer = train_tokenizer(plan.seed, VOCABULARY)
        else:
            self.tokenizer = AutoTokenizer.from_pretrained(plan.start_from)
        self.config = build_config(self.tokenizer)
        self.model = build_model(self.config, plan.seed)
        if plan.start_from is not None:
            self.model.load_weights(str(plan.start_from / "model.safetensors"))
        check_forward(self.model)
        self.source = BatchSource(self.tokenizer, plan.seed + 1, plan.batch_positions)
        self.optimizer, self.scale_rate = _optimizer(plan)
        self.optimizer.init(self.model.trainable_parameters())
        self._gradient = nn.value_and_grad(self.model, batch_loss)

    def step(self, batch: Batch) -> float:
        """Learn from one batch and give its loss."""
        arrays = [mx.array(part) for part in (batch.tokens, batch.positions, batch.targets)]
        loss, gradients = self._gradient(self.model, *arrays, self.plan.partition_weight)
        gradients, _ = optim.clip_grad_norm(gradients, 1.0)
        self.optimizer.update(self.model, gradients)
        mx.eval(self.model.parameters(), self.optimizer.state, loss)
        return float(loss.item())

    def run(self, log: Callable[[str], None]) -> None:
        """Train until the time is up, saving on the way and at the end."""
        count = sum(value.size for _, value in tree_flatten(self.model.parameters()))
        log(f"{count:,} parameters, {len(self.tokenizer)} tokens in the vocabulary")
        start = time.monotonic()
        next_save, smooth, step = self.plan.checkpoint_minutes, 0.0, 0
        while (minutes := (time.monotonic() - start) / 60) < self.plan.minutes:
            progress = minutes / self.plan.minutes
            self.source.stage = _stage(progress) if self.plan.start_from is None else 1.0
            self.scale_rate(rate_factor(self.plan, step, progress))
            loss = self.step(self.source.next())
            smooth = loss if step == 0 else 0.97 * smooth + 0.03 * loss
            step += 1
            if step % 50 == 0:
                log(
                    f"step {step}, {minutes:.1f} minutes, {minutes * 60 / step:.2f} s a step, loss {smooth:.4f}"
                )
            if minutes >= next_save:
                next_save += self.plan.checkpoint_minutes
                save(self.model, self.config, self.tokenizer, self.plan.out)
        save(self.model, self.config, self.tokenizer, self.plan.out)
        log(
            f"{step} steps, loss {smooth:.4f}, {self.source.dropped} chats too long, saved to {self.plan.out}"
        )
