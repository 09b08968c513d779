"""What all trainings of the miniature share: the loop (seeded, checkpointed, resumable), pixels, precision, weights."""

import io
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn
from tqdm.auto import tqdm

from vwlib.files import write_whole
from vwlib.models.precision import autocast, precision_of
from vwlib.settings import load_profile

Weights = dict[str, Tensor]
#: `loss(numpy generator, torch generator) -> (loss, figures to show)`; both generators are seeded from (seed, step).
Loss = Callable[[np.random.Generator, torch.Generator], tuple[Tensor, dict[str, Tensor]]]


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train. The rate rises linearly over `warmup` steps and falls to zero along a cosine."""

    steps: int
    rate: float
    warmup: int = 200
    decay: float = 0.05  # AdamW's weight decay, on matrices and convolutions only
    average: float = 0.0  # decay of the weights' moving average; 0 keeps none
    horizon: int = 0  # where the cosine ends; 0: with the training
    table: float = 0.0  # the word table's own rate, as a share of the others', and no decay; 0: as all weights

    def rate_at(self, step: int) -> float:
        """The learning rate of `step`, counted from 0."""
        if step < self.warmup:
            return self.rate * (step + 1) / self.warmup
        end = max(1, (self.horizon or self.steps) - self.warmup)
        return self.rate * 0.5 * (1 + math.cos(math.pi * (step - self.warmup) / end))


def training_autocast() -> torch.autocast:
    """The context of training on a processor, in the precision of the miniature's generator."""
    return autocast("cpu", precision_of(load_profile("miniature").generator, "cpu"))


def to_tensor(images: np.ndarray, mean: float = 0.5, std: float = 0.5) -> Tensor:
    """uint8 images (image, y, x, 3) to float (image, 3, y, x), channels last in memory; by default in [-1, 1]."""
    pixels = torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).float()
    return pixels.div_(255).sub_(mean).div_(std).contiguous(memory_format=torch.channels_last)


def save_tensors(tensors: Weights, path: Path) -> None:
    """Write safetensors; the file appears whole or not at all."""
    write_whole(path, save({key: value.detach().contiguous().clone() for key, value in tensors.items()}))


def train(
    module: nn.Module, loss: Loss, schedule: Schedule, *, seed: int, checkpoint: Path, save_every: float = 300.0
) -> Path:
    """Train `module` in place with AdamW, from `checkpoint` on if it exists; returns the checkpoint's path.

    Every step draws its batch from (seed, step) alone: a training that is killed and resumed takes the same steps.
    Writes a checkpoint every `save_every` seconds and at the end. Raises FloatingPointError if the loss becomes NaN.
    """
    parameters = {name: p for name, p in module.named_parameters() if p.requires_grad}
    apart = [p for name, p in parameters.items() if schedule.table and "token_embedding" in name]
    rest = [p for p in parameters.values() if not any(p is table for table in apart)]
    groups = [
        {"params": [p for p in rest if p.ndim >= 2], "weight_decay": schedule.decay, "share": 1.0},
        {"params": [p for p in rest if p.ndim < 2], "weight_decay": 0.0, "share": 1.0},
        {"params": apart, "weight_decay": 0.0, "share": schedule.table},
    ]
    optimiser = torch.optim.AdamW(groups, lr=schedule.rate, betas=(0.9, 0.98), eps=1e-8, fused=True)
    average = {name: p.detach().clone() for name, p in parameters.items()} if schedule.average else {}
    start = 0
    if checkpoint.exists():
        kept = torch.load(checkpoint)
        start = kept["step"]
        module.load_state_dict(kept["model"])
        optimiser.load_state_dict(kept["optimiser"])
        average |= kept["average"]
    bar = tqdm(range(start, schedule.steps), checkpoint.stem, schedule.steps, initial=start, unit="step", mininterval=5)
    saved = time.monotonic()
    smooth: dict[str, float] = {}
    for step in bar:
        for group in optimiser.param_groups:
            group["lr"] = schedule.rate_at(step) * group["share"]
        noise = torch.Generator().manual_seed(seed * 1_000_003 + step)
        value, figures = loss(np.random.default_rng((seed, step)), noise)
        if not torch.isfinite(value):
            advice = "lower the rate and resume"
            raise FloatingPointError(f"{checkpoint.stem}: the loss of step {step} is not a number; {advice}.")
        optimiser.zero_grad(set_to_none=True)
        value.backward()
        nn.utils.clip_grad_norm_(parameters.values(), 1.0)
        optimiser.step()
        if average:
            # A short memory at first: the first weights are noise.
            keep = min(schedule.average, (1 + step) / (10 + step))
            torch._foreach_lerp_(list(average.values()), [p.detach() for p in parameters.values()], 1 - keep)
        for key, figure in {"loss": value, **figures}.items():
            smooth[key] = 0.98 * smooth.get(key, figure.item()) + 0.02 * figure.item()
        bar.set_postfix({key: f"{figure:.3f}" for key, figure in smooth.items()}, refresh=False)
        if time.monotonic() - saved > save_every or step + 1 == schedule.steps:
            states = {"model": module.state_dict(), "optimiser": optimiser.state_dict(), "average": average}
            torch.save({"step": step + 1, **states}, content := io.BytesIO())
            write_whole(checkpoint, content.getvalue())
            saved = time.monotonic()
    return checkpoint


def checkpoint_step(checkpoint: Path) -> int:
    """How many steps led to a checkpoint; 0 if there is none."""
    return torch.load(checkpoint, mmap=True)["step"] if checkpoint.exists() else 0


def averaged_weights(checkpoint: Path) -> Weights:
    """The weights of a checkpoint: their moving average where there is one, otherwise the last ones."""
    kept = torch.load(checkpoint)
    return kept["model"] | kept["average"]
