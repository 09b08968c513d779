"""The generator: a Stable Diffusion pipeline of diffusers, and the judge that says what it drew."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from PIL import Image
from torch import Tensor, nn
from transformers import CLIPImageProcessor, CLIPTextModel

from vwlib.examples import Example
from vwlib.models.base import Frozen, Score, TextMixin, draw
from vwlib.models.classification import Classifier
from vwlib.models.detection import clip_vocabulary
from vwlib.models.judge import Judge
from vwlib.models.loading import PIPELINE, TRANSFORMERS, check_folder, load_whole, seen_words, strict_loading
from vwlib.models.precision import autocast, precision_of

if TYPE_CHECKING:
    from vwlib.settings import GeneratorSettings, ModelSettings

#: The parts of a pipeline that have weights, each in a folder of its own.
PARTS = {"unet": UNet2DConditionModel, "vae": AutoencoderKL, "text_encoder": CLIPTextModel}
#: By how much gradients are larger inside a denoiser in half precision; a power of two, so that nothing is rounded by
#: it.
GRADIENT_SCALE = 2.0**12
#: Up to so many places of a latent, attention as plain matrix products fits into memory. On a CPU a word is learned
#: through it in half the time that torch's fused attention takes, whose backward pass is slow in half precision.
PLAIN_ATTENTION = 32 * 32


class Generator(TextMixin):
    """Draws images from noise, guided by a text's hidden states."""

    task = "generation"
    pools = False  # the denoiser attends to every token, the padding too
    blocks = "pipeline.text_encoder.encoder.layers"

    def __init__(
        self,
        pipeline: StableDiffusionPipeline,
        judge: Classifier,
        settings: GeneratorSettings,
        prompt: str,
        seen: frozenset[str] | None = None,
        second_judge: Judge | None = None,
    ) -> None:
        self.pipeline, self.judge, self.settings, self.prompt, self.second_judge = (
            pipeline,
            judge,
            settings,
            prompt,
            second_judge,
        )
        for part in (pipeline.unet, pipeline.vae, pipeline.text_encoder):
            part.eval().requires_grad_(False)
        if self.device.type == "cpu" and (settings.image_size // pipeline.vae_scale_factor) ** 2 <= PLAIN_ATTENTION:
            pipeline.unet.set_attn_processor(AttnProcessor())
        if self.device.type == "cuda" and settings.recompute:
            pipeline.unet.enable_gradient_checkpointing()
        pipeline.set_progress_bar_config(disable=True)
        # Training noise follows the pipeline's own schedule, whichever sampler draws the images.
        self.noising = DDIMScheduler.from_config(pipeline.scheduler.config)
        self.vocabulary = clip_vocabulary(pipeline.tokenizer, pipeline.tokenizer.model_max_length, seen)

    @classmethod
    def load(
        cls,
        settings: GeneratorSettings,
        judge: Classifier,
        prompt: str,
        second_judge: Judge | None = None,
        device: torch.device | str = "cpu",
    ) -> Generator:
        """Load from a local folder in diffusers' layout onto a device.

        Raises FileNotFoundError for missing weights and ValueError for weights of another shape.
        """
        folder = check_folder(settings, *PIPELINE)
        checker = (
            load_safety_checker(settings.safety_checker)
            if settings.safety_checker
            else {"safety_checker": None, "feature_extractor": None}
        )
        parts = {name: load_whole(kind, folder / name) for name, kind in PARTS.items()}
        with strict_loading(folder):
            pipeline = StableDiffusionPipeline.from_pretrained(
                folder,
                local_files_only=True,
                low_cpu_mem_usage=False,
                requires_safety_checker=False,
                **parts,
                **checker,
            )
        return cls(pipeline.to(device), judge, settings, prompt, seen_words(folder), second_judge)

    @property
    def family(self) -> str:
        """What tables call it: the class of its pipeline."""
        return type(self.pipeline).__name__

    @property
    def networks(self) -> Sequence[nn.Module]:
        """The modules whose parameters are the model's."""
        return [self.pipeline.text_encoder, self.pipeline.unet, self.pipeline.vae]

    @property
    def image_size(self) -> int:
        """The side of the pictures that it draws, in px."""
        return self.settings.image_size

    @property
    def text_owner(self) -> nn.Module:
        """The module of the text encoder whose `token_embedding` is the word table."""
        return self.pipeline.text_encoder.embeddings

    @property
    def precision(self) -> str:
        """What the denoiser's matrix products are computed in on this machine: float32, bfloat16 or float16."""
        return precision_of(self.settings, str(self.device))

    def autocast(self) -> torch.autocast:
        """The context in which the denoiser draws and is learned from; words, texts, latents and losses stay in
        float32.

        SD 2.1's products of queries and keys exceed half precision (its configuration says `upcast_attention`). torch's
        fused attention, which diffusers uses and which does not look at that setting, keeps them in float32 in any
        case; plain attention obeys it.
        """
        return autocast(str(self.device), self.precision)

    def encode_ids(self, ids: Tensor) -> Tensor:
        """Hidden states (prompt, token, d), which the denoiser attends to."""
        return self.pipeline.text_encoder(input_ids=ids).last_hidden_state

    @torch.inference_mode()
    def prepare(self, examples: Sequence[Example]) -> Frozen:
        """Latents of every image, `latent` (image, channel, y, x): the mean of the autoencoder's posterior, scaled."""
        side = self.settings.image_size
        images = [example.image().resize((side, side), Image.Resampling.BICUBIC) for example in examples]
        pixels = (
            torch.from_numpy(np.stack([np.asarray(image) for image in images])).permute(0, 3, 1, 2).float() / 127.5 - 1
        )
        vae = self.pipeline.vae

        def work(part: slice) -> Tensor:
            return vae.encode(pixels[part].to(self.device)).latent_dist.mean * vae.config.scaling_factor

        latents = torch.cat(self.room.parts("images", len(pixels), work, most=16))
        return Frozen([example.label for example in examples], self.room.keep({"latent": latents}))

    def losses(
        self, vectors: Tensor, concepts: Sequence[str], frozen: Frozen, streams: Sequence[torch.Generator], batch: int
    ) -> Tensor:
        """Table 1, generation: the standard denoising objective, on whatever the scheduler says the model predicts."""
        shape = frozen.tensors["latent"].shape[1:]
        clean, noise, times = [], [], []
        for concept, stream in zip(concepts, streams, strict=True):
            clean.append(frozen.tensors["latent"][draw(frozen.rows_of(concept), batch, stream)])
            noise.append(torch.randn(batch, *shape, generator=stream))
            times.append(torch.randint(self.noising.config.num_train_timesteps, (batch,), generator=stream))
        latents, epsilon, time = (torch.cat(drawn).to(self.device) for drawn in (clean, noise, times))
        target = self.target(latents, epsilon, time)
        states = self.encode_words(vectors).repeat_interleave(batch, 0)  # (word · image, token, d)
        with self.autocast():
            output = self.pipeline.unet(self.noising.add_noise(latents, epsilon, time), time, states).sample.float()
        if self.precision == "float16" and states.requires_grad:
            # Within the denoiser the gradient of a mean over so many numbers is smaller than half precision can tell
            # from zero.
            output.register_hook(lambda gradient: gradient * GRADIENT_SCALE)
            states.register_hook(lambda gradient: gradient / GRADIENT_SCALE)
        return F.mse_loss(output, target, reduction="none").mean((1, 2, 3)).view(len(vectors), batch).mean(1)

    def target(self, latents: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        """What the denoiser is asked for, by the scheduler's `prediction_type`.

        Raises ValueError for a type that is neither noise nor velocity.
        """
        kind = self.noising.config.prediction_type
        if kind == "epsilon":
            return noise
        if kind == "v_prediction":
            return self.noising.get_velocity(latents, noise, times)
        raise ValueError(f"The scheduler predicts '{kind}'; 'epsilon' and 'v_prediction' are known.")

    @torch.inference_mode()
    def generate(self, states: Tensor, images: int, seed: int = 0, at_once: int = 64) -> list[list[Image.Image]]:
        """Draw `images` pictures for each of the texts' hidden states (prompt, token, d).

        Picture i of every text starts from the same noise, that of seed + i, so that texts can be compared. A picture
        that the safety checker flags is black, and its `info["flagged"]` is true.
        """
        settings, states = self.settings, states.to(self.device)
        empty = self.encode_prompts([""])
        pairs = [(row, picture) for row in range(len(states)) for picture in range(images)]

        def work(part: slice) -> list[Image.Image]:
            chosen = pairs[part]
            with self.autocast():
                output = self.pipeline(
                    prompt_embeds=states[[row for row, _ in chosen]],
                    negative_prompt_embeds=empty.expand(len(chosen), -1, -1),
                    num_inference_steps=settings.inference_steps,
                    guidance_scale=settings.guidance,
                    height=settings.image_size,
                    width=settings.image_size,
                    generator=[torch.Generator().manual_seed(seed + picture) for _, picture in chosen],
                )
            for picture, flagged in zip(
                output.images, output.nsfw_content_detected or [False] * len(chosen), strict=True
            ):
                picture.info["flagged"] = bool(flagged)
            return output.images

        drawn = [picture for part in self.room.parts("pictures", len(pairs), work, at_once) for picture in part]
        return [drawn[start : start + images] for start in range(0, len(drawn), images)]

    def evaluate(
        self,
        vectors: Tensor,
        concepts: Sequence[str],
        names: dict[str, str],
        frozen: Frozen | None = None,
        seed: int = 0,
    ) -> list[Score]:
        """Generation accuracy: share of pictures that the judge assigns to the concept, choosing among the dataset's
        ten names.

        Words that are equal are drawn once, whatever concepts they are judged for.
        """
        distinct, which = torch.unique(vectors.flatten(1), dim=0, return_inverse=True)
        with torch.no_grad():
            pictures = self.generate(
                self.encode_words(distinct.view(-1, *vectors.shape[1:])), self.settings.images_per_word, seed
            )
        return [
            self.judged(pictures[row], concept, names) for row, concept in zip(which.tolist(), concepts, strict=True)
        ]

    def judged(self, pictures: Sequence[Image.Image], concept: str, names: dict[str, str]) -> Score:
        """The judge's accuracy on one word's pictures; where there are such, also the `second_judge`'s and the share
        `flagged` by the safety checker.
        """

        def accuracy(judge: Judge) -> float:
            choice = judge.classify(pictures, list(names.values()))
            return (choice == list(names).index(concept)).float().mean().item()

        more = {"second_judge": accuracy(self.second_judge)} if self.second_judge else {}
        if self.pipeline.safety_checker is not None:
            more["flagged"] = float(np.mean([picture.info.get("flagged", False) for picture in pictures]))
        return Score("accuracy", accuracy(self.judge), len(pictures), more)


class SafetyChecker(StableDiffusionSafetyChecker):
    """The safety checker, in float32 also where the denoiser draws in half precision: its thresholds lie close to what
    they tell apart.
    """

    def forward(self, clip_input: Tensor, images: np.ndarray) -> tuple[np.ndarray, list[bool]]:
        """The pictures (image, y, x, colour), black where something doubtful is found, and whether it is, from what
        CLIP sees of them.
        """
        with torch.autocast(clip_input.device.type, enabled=False):
            return super().forward(clip_input.float(), images)


def load_safety_checker(settings: ModelSettings) -> dict[str, Any]:
    """The safety checker and its preprocessing, as a pipeline takes them, from a local folder in transformers' layout.

    Raises FileNotFoundError for missing weights and ValueError for weights of another shape.
    """
    folder = check_folder(settings, *TRANSFORMERS)
    checker = load_whole(SafetyChecker, folder)
    with strict_loading(folder, "image preprocessing"):
        return {
            "safety_checker": checker.eval(),
            "feature_extractor": CLIPImageProcessor.from_pretrained(folder, local_files_only=True),
        }
