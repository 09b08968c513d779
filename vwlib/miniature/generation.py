"""Training of the generator: text encoder from captions, autoencoder from pixels, denoiser from latents."""

from pathlib import Path

import numpy as np
import timm
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from safetensors.numpy import load_file
from torch import Tensor, nn
from tqdm.auto import tqdm
from transformers import CLIPTextModel

from vwlib.miniature.architectures import SCHEDULER, tokenize
from vwlib.miniature.pool import Pool
from vwlib.miniature.training import Loss, save_tensors, to_tensor, training_autocast


class TextAndImage(nn.Module):
    """The generator's text encoder and an image tower that only trains it; both end in `width` features."""

    def __init__(self, text: CLIPTextModel, width: int = 128) -> None:
        super().__init__()
        self.text = text
        self.image = timm.create_model("cs3darknet_s", num_classes=width)
        self.project = nn.Linear(text.config.hidden_size, width, bias=False)
        self.logit_scale = nn.Parameter(torch.tensor(2.66))

    def encode_image(self, pixels: Tensor) -> Tensor:
        """(image, 3, y, x) to (image, width)."""
        return self.image(pixels)

    def encode_text(self, ids: Tensor) -> Tensor:
        """(text, token) to (text, width)."""
        return self.project(self.text(input_ids=ids).pooler_output)


def features(tower: nn.Module, pixels: Tensor) -> list[Tensor]:
    """The image tower's features after its stem and each of its first three stages, of unit length at each place."""
    parts = dict(tower.named_children())
    found = [parts["stem"](pixels)]
    for stage in list(parts["stages"].children())[:3]:
        found.append(stage(found[-1]))
    return [F.normalize(feature.float(), dim=1) for feature in found]


def autoencoder_loss(
    pool: Pool, model: AutoencoderKL, tower: nn.Module, *, batch: int = 32, kl: float = 1e-4, perceptual: float = 0.3
) -> Loss:
    """Absolute error of pixels and of their differences (for sharp edges), squared error of a trained tower's features
    (for what tells things apart), and a weak pull towards the normal prior.
    """

    def loss(rng: np.random.Generator, noise: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        pixels = to_tensor(pool.images[rng.integers(len(pool), size=batch)])
        with training_autocast():
            posterior = model.encode(pixels).latent_dist
            mean, logvar = posterior.mean.float(), posterior.logvar.float()
            latent = mean + (0.5 * logvar).exp() * torch.randn(mean.shape, generator=noise)
            output = model.decode(latent).sample
            with torch.no_grad():
                wanted = features(tower, pixels)
            differences = [a - b for a, b in zip(features(tower, output), wanted, strict=True)]
            seen = sum((difference.pow(2).sum(1).mean() for difference in differences), torch.zeros(()))
        output = output.float()
        error = F.l1_loss(output, pixels)
        across, down = (F.l1_loss(output.diff(dim=axis), pixels.diff(dim=axis)) for axis in (-1, -2))
        edges = across + down
        divergence = 0.5 * (mean.pow(2) + logvar.exp() - 1 - logvar).mean()
        figures = {"l1": error, "edges": edges, "features": seen, "kl": divergence}
        return error + edges + perceptual * seen + kl * divergence, figures

    return loss


@torch.inference_mode()
def encode_pool(pool: Pool, model: AutoencoderKL, target: Path, batch: int = 250) -> np.ndarray:
    """Mean latents of every scene, float16 (scene, 16, 8, 8), computed once and stored in `target`."""
    if not target.exists():
        latents = np.empty((len(pool), 16, 8, 8), np.float16)
        for start in tqdm(range(0, len(pool), batch), desc="latents", mininterval=5):
            with training_autocast():
                mean = model.encode(to_tensor(pool.images[start : start + batch])).latent_dist.mean
            latents[start : start + batch] = mean.float().numpy()
        save_tensors({"latents": torch.from_numpy(latents)}, target)
    return load_file(target)["latents"]


def latent_scale(file: Path) -> float:
    """The factor that brings the latents of `encode_pool` to a standard deviation of one."""
    return float(1 / load_file(file)["latents"][:5000].astype(np.float32).std())


def denoising_loss(
    pool: Pool,
    latents: np.ndarray,
    scale: float,
    text: CLIPTextModel,
    unet: UNet2DConditionModel,
    *,
    batch: int = 64,
    drop: float = 0.1,
) -> Loss:
    """The standard denoising objective on v; a share `drop` of the captions is empty, for classifier-free guidance."""
    scheduler = DDIMScheduler(**SCHEDULER)
    steps = scheduler.config.num_train_timesteps

    def loss(rng: np.random.Generator, noise: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        rows = rng.integers(len(pool), size=batch)
        texts = ["" if rng.random() < drop else pool.caption(rng, row) for row in rows]
        clean = torch.from_numpy(latents[rows].astype(np.float32)) * scale
        epsilon = torch.randn(clean.shape, generator=noise)
        # Evenly spread times make the loss of a small batch less noisy.
        times = ((torch.rand(1, generator=noise) + torch.arange(batch) / batch) % 1 * steps).long()
        noisy = scheduler.add_noise(clean, epsilon, times)
        target = scheduler.get_velocity(clean, epsilon, times)
        with training_autocast():
            with torch.no_grad():
                states = text(input_ids=tokenize(texts)).last_hidden_state
            output = unet(noisy.contiguous(memory_format=torch.channels_last), times, states).sample
        return F.mse_loss(output.float(), target), {}

    return loss
