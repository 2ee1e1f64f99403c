"""The training loop: a budget of processor time, one seed, and a checkpoint every few minutes.

Processor time, not wall time: a run on a busy machine, or one that is paused, learns as much as another.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
from mlx.utils import tree_flatten

from .arithmetic import log_partition
from .batches import Batch, BatchSource, Pictures, check_pictures, draw_pictures
from .folder import HIDDEN, build_model, model_config, save_weights, start_folder
from .network import Network, check_forward
from .probes import Probes
from .tokenizer import load_tokenizer, train_tokenizer


@dataclass(frozen=True)
class Plan:
    """How long to train, in minutes of processor time, and how."""

    minutes: float
    seed: int
    out: Path
    start_from: Path | None = None
    pictures: int = 32
    checkpoint_minutes: float = 2.0
    look_share: float = 0.22  # of the time in which only the picture tower learns, from its probes
    look_pictures: int = 48
    matrix_rate: float = 0.02
    other_share: float = 0.15  # the rate of everything else, as a share of the matrices' rate
    warm_up_steps: int = 50
    flat_share: float = 0.35  # of the time at the full learning rate; then it falls in a line
    probe_weight: float = 0.3
    probe_share: float = 0.85  # of the time until the probes have faded out
    partition_weight: float = 2e-3


class Learner(nn.Module):  # type: ignore[misc]
    """Everything that learns: the model and, for the time of training, its probes."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.probes = Probes(HIDDEN)


def _optimizer(plan: Plan) -> tuple[optim.MultiOptimizer, Callable[[float], None]]:
    """Muon for the matrices, AdamW for everything else; and a function that scales both rates."""
    other_rate = plan.other_share * plan.matrix_rate
    muon = optim.Muon(learning_rate=plan.matrix_rate, momentum=0.95, weight_decay=0.0)
    adam = optim.AdamW(learning_rate=other_rate, betas=[0.9, 0.98], weight_decay=0.0)
    both = optim.MultiOptimizer(
        [muon, adam],
        [lambda name, value: value.ndim == 2 and "embed" not in name and "probes" not in name],
    )

    def scale(factor: float) -> None:
        muon.learning_rate = mx.array(plan.matrix_rate * factor)
        adam.learning_rate = mx.array(other_rate * factor)

    return both, scale


def rate_factor(plan: Plan, step: int, progress: float) -> float:
    """Give the learning rate's factor: a short rise, a plateau, a straight fall to almost nothing."""
    rise = min(1.0, (step + 1) / plan.warm_up_steps)
    fall = min(1.0, (1 - progress) / (1 - plan.flat_share))
    return rise * max(0.01, fall)


def _probe_targets(pictures: Pictures | Batch) -> tuple[mx.array, mx.array]:
    return mx.array(pictures.labels), mx.array(pictures.masks)


class Trainer:
    """Holds what a run needs and steps through it."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        tokenizer = (
            load_tokenizer(plan.start_from) if plan.start_from else train_tokenizer(plan.seed)
        )
        check_pictures(start_folder(plan.out, tokenizer))
        mx.random.seed(plan.seed)
        model = build_model(model_config(tokenizer))
        if plan.start_from:
            model.load_weights(str(plan.start_from / "model.safetensors"))
        self.learner = Learner(model)
        self.network = Network(model)
        self.source = BatchSource(tokenizer, plan.seed + 1, plan.pictures)
        self.optimizer, self.scale_rate = _optimizer(plan)
        self.optimizer.init(self.learner.trainable_parameters())
        self.rng = Random(plan.seed + 2)
        self._gradient = nn.value_and_grad(self.learner, self._loss)
        self._look_gradient = nn.value_and_grad(self.learner, self._look_loss)

    def _look_loss(
        self, learner: Learner, pictures: Pictures
    ) -> tuple[mx.array, mx.array, mx.array]:
        """Give the loss of the picture tower's probes alone: what is minimised, then as the answers' loss, nothing."""
        loss = learner.probes.look(
            self.network.see(mx.array(pictures.patches), pictures.grid), *_probe_targets(pictures)
        )
        return loss, mx.array(0.0), loss

    def _loss(
        self, learner: Learner, batch: Batch, probe_weight: float
    ) -> tuple[mx.array, mx.array, mx.array]:
        """Give what is minimised, the cross entropy of the answers, and the probes' loss.

        The pull of the partition function towards one (Chowdhery et al., PaLM, 2022, section 5) makes a logit a
        log-probability. A sure token then has a logit near zero, where the repetition penalty does nothing: words
        that the question also holds can be answered under the service's default sampling.
        """
        states, (seen, early) = self.network.states(batch, mx.array(batch.positions))
        logits = self.network.logits(states)
        partition = log_partition(logits)
        right = mx.take_along_axis(logits, mx.array(batch.targets)[:, None], axis=-1)[:, 0]
        answers = (partition - right).mean()
        total = answers + self.plan.partition_weight * mx.square(partition).mean()
        if not probe_weight:
            return total, answers, mx.array(0.0)
        labels, masks = _probe_targets(batch)
        probes = learner.probes.look(seen, labels, masks) + learner.probes.think(early, labels)
        return total + probe_weight * probes, answers, probes

    def step(self, progress: float) -> tuple[float, float]:
        """Learn from one batch and give the loss of the answers and of the probes."""
        plan = self.plan
        if progress < plan.look_share:
            made = self._look_gradient(self.learner, draw_pictures(self.rng, plan.look_pictures))
        else:
            weight = plan.probe_weight * max(0.0, 1 - progress / plan.probe_share)
            made = self._gradient(self.learner, self.source.next(), weight)
        (_, answers, probes), gradients = made
        gradients, _ = optim.clip_grad_norm(gradients, 1.0)
        self.optimizer.update(self.learner, gradients)
        mx.eval(self.learner.parameters(), self.optimizer.state, answers, probes)
        return float(answers.item()), float(probes.item())

    def run(self, log: Callable[[str], None]) -> None:
        """Train until the time is up, saving on the way and at the end."""
        plan, model = self.plan, self.network.model
        count = sum(value.size for _, value in tree_flatten(model.parameters()))
        difference = check_forward(self.network, self.source.next())
        log(f"{count:,} parameters; logits differ from the library's by {difference:.1e}")
        start = time.process_time()
        next_save, step, smooth = plan.checkpoint_minutes, 0, (0.0, 0.0)
        while (minutes := (time.process_time() - start) / 60) < plan.minutes:
            progress = minutes / plan.minutes
            self.scale_rate(rate_factor(plan, step, progress))
            losses = self.step(progress)
            keep = 0.0 if step == 0 else 0.97
            smooth = (
                keep * smooth[0] + (1 - keep) * losses[0],
                keep * smooth[1] + (1 - keep) * losses[1],
            )
            step += 1
            if step % 50 == 0:
                pace = f"{minutes:.1f} minutes, {minutes * 60 / step:.2f} s a step"
                log(f"step {step}, {pace}, answers {smooth[0]:.4f}, probes {smooth[1]:.3f}")
            if minutes >= next_save:
                next_save += plan.checkpoint_minutes
                save_weights(model, plan.out)
        save_weights(model, plan.out)
        log(f"{step} steps, answers {smooth[0]:.4f}, probes {smooth[1]:.3f}, saved to {plan.out}")
