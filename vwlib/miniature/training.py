"""One training loop for every model of the miniature: seeded, checkpointed, resumable, with a progress bar."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm.auto import tqdm

from vwlib.models.precision import MOST, autocast, measure

#: `loss(numpy generator, torch generator) -> (loss, figures to show)`; both generators are seeded from (seed, step).
Loss = Callable[[np.random.Generator, torch.Generator], tuple[Tensor, dict[str, float]]]

_MOMENTS = ("exp_avg", "exp_avg_sq")  # AdamW's state of a parameter


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train. The rate rises linearly over `warmup` steps and falls to zero along a cosine."""

    steps: int
    rate: float
    warmup: int = 200
    decay: float = 0.05  # AdamW's weight decay, on matrices and convolutions only
    average: float = 0.0  # decay of the weights' moving average; 0 keeps none
    horizon: int = 0  # where the cosine ends; 0: with the training

    def rate_at(self, step: int) -> float:
        """The learning rate of `step`, counted from 0."""
        if step < self.warmup:
            return self.rate * (step + 1) / self.warmup
        return (
            self.rate
            * 0.5
            * (1 + math.cos(math.pi * (step - self.warmup) / max(1, (self.horizon or self.steps) - self.warmup)))
        )


def training_autocast() -> torch.autocast:
    """The context of training on a processor: bfloat16 if it is clearly faster, on products of the models' width."""
    width = 192
    return autocast("cpu", measure("cpu", MOST // (4 * width**2), width).precision)


def save_atomically(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str] | None = None) -> None:
    """Write safetensors under a temporary name, then rename: a reader never sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}.partial")
    save_file({key: value.detach().contiguous().clone() for key, value in tensors.items()}, temporary, metadata)
    temporary.rename(path)


def train(
    module: nn.Module, loss: Loss, schedule: Schedule, *, seed: int, checkpoint: Path, save_every: float = 300.0
) -> Path:
    """Train `module` in place with AdamW, resuming from `checkpoint` where it exists; returns the checkpoint's path.

    Every step draws its batch from (seed, step) alone, so that a training killed and resumed takes the same steps. A
    checkpoint is written every `save_every` seconds and at the end. Raises FloatingPointError when the loss is no
    number.
    """
    parameters = {name: p for name, p in module.named_parameters() if p.requires_grad}
    groups = [
        {"params": [p for p in parameters.values() if p.ndim >= 2], "weight_decay": schedule.decay},
        {"params": [p for p in parameters.values() if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=schedule.rate, betas=(0.9, 0.98), eps=1e-8, fused=True)
    average = {name: p.detach().clone() for name, p in parameters.items()} if schedule.average else {}
    start = _resume(checkpoint, module, parameters, optimiser, average)
    bar = tqdm(
        range(start, schedule.steps),
        initial=start,
        total=schedule.steps,
        desc=checkpoint.stem,
        unit="step",
        mininterval=5,
    )
    saved = time.monotonic()
    smooth: dict[str, float] = {}
    for step in bar:
        for group in optimiser.param_groups:
            group["lr"] = schedule.rate_at(step)
        value, figures = loss(
            np.random.default_rng((seed, step)), torch.Generator().manual_seed(seed * 1_000_003 + step)
        )
        if not torch.isfinite(value):
            raise FloatingPointError(
                f"{checkpoint.stem}: the loss of step {step} is not a number; lower the rate and resume."
            )
        optimiser.zero_grad(set_to_none=True)
        value.backward()
        nn.utils.clip_grad_norm_(parameters.values(), 1.0)
        optimiser.step()
        if average:
            # A short memory at first: the first weights are noise.
            keep = min(schedule.average, (1 + step) / (10 + step))
            torch._foreach_lerp_(list(average.values()), [p.detach() for p in parameters.values()], 1 - keep)
        for key, figure in {"loss": value.item(), **figures}.items():
            smooth[key] = figure if key not in smooth else 0.98 * smooth[key] + 0.02 * figure
        bar.set_postfix({key: f"{figure:.3f}" for key, figure in smooth.items()}, refresh=False)
        if time.monotonic() - saved > save_every or step + 1 == schedule.steps:
            _save(checkpoint, module, parameters, optimiser, average, step + 1)
            saved = time.monotonic()
    return checkpoint


def _save(
    path: Path,
    module: nn.Module,
    parameters: dict[str, nn.Parameter],
    optimiser: torch.optim.Optimizer,
    average: dict[str, Tensor],
    step: int,
) -> None:
    tensors = {f"model.{name}": value for name, value in module.state_dict().items()}
    for name, parameter in parameters.items():
        # A parameter that the loss does not use, such as OWL-v2's unused projection, has no state.
        tensors |= {
            f"{key}.{name}": optimiser.state[parameter][key] for key in _MOMENTS if key in optimiser.state[parameter]
        }
    tensors |= {f"average.{name}": value for name, value in average.items()}
    save_atomically(tensors, path, {"step": json.dumps(step)})


def _resume(
    path: Path,
    module: nn.Module,
    parameters: dict[str, nn.Parameter],
    optimiser: torch.optim.Optimizer,
    average: dict[str, Tensor],
) -> int:
    if not path.exists():
        return 0
    with safe_open(path, "pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a mapping
        step = json.loads(file.metadata()["step"])
    module.load_state_dict(
        {key.removeprefix("model."): value for key, value in tensors.items() if key.startswith("model.")}
    )
    for name, parameter in parameters.items():
        state = {key: tensors[f"{key}.{name}"] for key in _MOMENTS if f"{key}.{name}" in tensors}
        if state:
            optimiser.state[parameter] = {"step": torch.tensor(float(step)), **state}
    for name, value in average.items():
        value.copy_(tensors[f"average.{name}"])
    return step


def checkpoint_step(checkpoint: Path) -> int:
    """How many steps led to a checkpoint."""
    with safe_open(checkpoint, "pt") as file:
        return json.loads(file.metadata()["step"])


def averaged_weights(checkpoint: Path) -> dict[str, Tensor]:
    """The weights of a checkpoint, the moving average in place of the last ones where it was kept."""
    with safe_open(checkpoint, "pt") as file:
        keys = file.keys()
        weights = {key.removeprefix("model."): file.get_tensor(key) for key in keys if key.startswith("model.")}
        weights |= {key.removeprefix("average."): file.get_tensor(key) for key in keys if key.startswith("average.")}
        return weights
