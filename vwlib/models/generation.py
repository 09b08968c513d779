"""The generator: a Stable Diffusion pipeline of diffusers, and the judge that says what it drew."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from PIL import Image
from torch import Tensor
from transformers import CLIPImageProcessor, CLIPTextModel

from vwlib.examples import Example
from vwlib.models.base import CachedFeatures, Score, TaskModel, clip_vocabulary, draw
from vwlib.models.classification import Classifier
from vwlib.models.judge import Judge
from vwlib.models.loading import DIFFUSERS, SAFETY_CHECKER, check_folder, load_whole, seen_words, strict_loading
from vwlib.models.memory import find_device
from vwlib.models.precision import autocast, precision_of
from vwlib.settings import GeneratorSettings, ModelSettings, Profile

#: The parts of a pipeline that have weights, each in a folder of its own.
PARTS = {"unet": UNet2DConditionModel, "vae": AutoencoderKL, "text_encoder": CLIPTextModel}
#: Gradients inside a denoiser in half precision are scaled by this; a power of two rounds nothing.
GRADIENT_SCALE = 2.0**12
#: Up to this many positions of a latent, attention as plain matrix products fits into memory. On a CPU it takes half
#: the time of torch's fused attention, whose backward pass is slow in half precision.
PLAIN_ATTENTION = 32 * 32


class Generator(TaskModel):
    """Draws images from noise, guided by a text's hidden states."""

    task = "generation"
    files = DIFFUSERS
    uses_pooled_output = False  # the denoiser attends to every token, the padding too
    needs_test_images = False  # it is judged on what it draws

    def __init__(
        self,
        pipeline: StableDiffusionPipeline,
        judge: Classifier,
        settings: GeneratorSettings,
        prompt: str,
        seen: frozenset[str] | None = None,
        second_judge: Judge | None = None,
        strata: int = 1,
    ) -> None:
        self.pipeline, self.judge, self.settings, self.second_judge = pipeline, judge, settings, second_judge
        self.strata = strata
        vocabulary = clip_vocabulary(pipeline.tokenizer, pipeline.tokenizer.model_max_length, seen)
        text, modules = pipeline.text_encoder, [pipeline.text_encoder, pipeline.unet, pipeline.vae]
        super().__init__(vocabulary, prompt, modules, text.embeddings, text.encoder.layers, settings.image_size)
        if self.device.type == "cpu" and (settings.image_size // pipeline.vae_scale_factor) ** 2 <= PLAIN_ATTENTION:
            pipeline.unet.set_attn_processor(AttnProcessor())
        if self.device.type == "cuda" and settings.recompute:
            pipeline.unet.enable_gradient_checkpointing()
        pipeline.set_progress_bar_config(disable=True)
        # Training noise follows the pipeline's own schedule, whichever sampler draws the images.
        self.noising = DDIMScheduler.from_config(pipeline.scheduler.config)

    @classmethod
    def load(cls, profile: Profile) -> Self:
        """Load the pipeline and its judges, from folders in the layouts of diffusers and open_clip."""
        settings, device = profile.generator, find_device(profile.device)
        folder = check_folder(settings, *cls.files)
        parts = {name: load_whole(part, folder / name) for name, part in PARTS.items()}
        parts |= load_safety_checker(settings.safety_checker)
        with strict_loading(folder):
            pipeline = StableDiffusionPipeline.from_pretrained(
                folder, local_files_only=True, low_cpu_mem_usage=False, requires_safety_checker=False, **parts
            )
        judge = Classifier.open(profile.judge, device, profile.prompt)
        second = Judge.open(profile.second_judge, device) if profile.second_judge else None
        strata = profile.learning[cls.task].strata or 1
        return cls(pipeline.to(device), judge, settings, profile.prompt, seen_words(folder), second, strata)

    @property
    def precision(self) -> str:
        """The precision of the denoiser's matrix products on this machine: float32, bfloat16 or float16."""
        return precision_of(self.settings, str(self.device))

    def autocast(self) -> torch.autocast:
        """The context in which the denoiser runs; words, texts, latents and losses stay in float32.

        SD 2.1's products of queries and keys exceed half precision (its configuration says `upcast_attention`). torch's
        fused attention keeps them in float32 anyway; plain attention follows the configuration.
        """
        return autocast(str(self.device), self.precision)

    def encode_ids(self, ids: Tensor) -> Tensor:
        """Hidden states (prompt, token, d), which the denoiser attends to."""
        return self.pipeline.text_encoder(input_ids=ids).last_hidden_state

    @torch.inference_mode()
    def cache_features(self, examples: Sequence[Example]) -> CachedFeatures:
        """Latents of every image, `latent` (image, channel, y, x): the scaled mean of the autoencoder's posterior."""
        size = (self.image_size, self.image_size)
        images = [np.asarray(example.image().resize(size, Image.Resampling.BICUBIC)) for example in examples]
        pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 127.5 - 1
        vae = self.pipeline.vae

        def work(batch: slice) -> Tensor:
            return vae.encode(pixels[batch].to(self.device)).latent_dist.mean * vae.config.scaling_factor

        latents = torch.cat(self.memory.map_in_batches("images", len(pixels), work, most=16))
        return CachedFeatures([example.label for example in examples], self.memory.place({"latent": latents}))

    def draw_batch(
        self, concepts: Sequence[str], features: CachedFeatures, streams: Sequence[torch.Generator], batch: int
    ) -> dict[str, Tensor]:
        """Images' latents and `noise` (word, image, channel, y, x), and the `time` (word, image) of noising.

        A batch's times come from `strata` equal parts of the schedule in turn, which makes its mean less noisy.
        """
        cached, steps = features.tensors["latent"], self.noising.config.num_train_timesteps // self.strata
        first = torch.arange(batch) % self.strata * steps
        drawn = []
        for concept, stream in zip(concepts, streams, strict=True):
            latent = cached[draw(features.indices_of(concept), batch, stream)]
            noise = torch.randn(latent.shape, generator=stream)
            drawn.append((latent, noise, first + torch.randint(steps, (batch,), generator=stream)))
        latents, noises, times = (torch.stack(tensors) for tensors in zip(*drawn, strict=True))
        return {"latent": latents, "noise": noises, "time": times}

    def losses(self, vectors: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """Table 1, generation: the standard denoising objective, for the scheduler's `prediction_type`."""
        latents, epsilon, time = (batch[key].flatten(0, 1).to(self.device) for key in ("latent", "noise", "time"))
        images = batch["time"].shape[1]
        target = self.target(latents, epsilon, time)
        states = self.encode_words(vectors).repeat_interleave(images, 0)  # (word · image, token, d)
        with self.autocast():
            output = self.pipeline.unet(self.noising.add_noise(latents, epsilon, time), time, states).sample.float()
        if self.precision == "float16" and states.requires_grad:
            # The mean is over so many numbers that gradients inside the denoiser underflow in half precision.
            output.register_hook(lambda gradient: gradient * GRADIENT_SCALE)
            states.register_hook(lambda gradient: gradient / GRADIENT_SCALE)
        return F.mse_loss(output, target, reduction="none").mean((1, 2, 3)).view(len(vectors), images).mean(1)

    def target(self, latents: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        """What the denoiser is to predict. Raises ValueError for a `prediction_type` other than noise and velocity."""
        kind = self.noising.config.prediction_type
        if kind == "epsilon":
            return noise
        if kind == "v_prediction":
            return self.noising.get_velocity(latents, noise, times)
        raise ValueError(f"The scheduler predicts '{kind}'; 'epsilon' and 'v_prediction' are known.")

    @torch.inference_mode()
    def generate(self, states: Tensor, images: int, seed: int = 0, at_once: int = 64) -> list[list[Image.Image]]:
        """Draw `images` pictures for each of the texts' hidden states (prompt, token, d).

        Picture i of every text starts from the noise of seed + i, so that texts can be compared. A picture that the
        safety checker flags is black, and its `info["flagged"]` is true.
        """
        settings, states = self.settings, states.to(self.device)
        empty = self.encode_prompts([""])
        pairs = [(row, picture) for row in range(len(states)) for picture in range(images)]

        def work(batch: slice) -> list[Image.Image]:
            rows, pictures = zip(*pairs[batch], strict=True)
            with self.autocast():
                output = self.pipeline(
                    prompt_embeds=states[list(rows)],
                    negative_prompt_embeds=empty.expand(len(rows), -1, -1),
                    num_inference_steps=settings.inference_steps,
                    guidance_scale=settings.guidance,
                    height=settings.image_size,
                    width=settings.image_size,
                    generator=[torch.Generator().manual_seed(seed + picture) for picture in pictures],
                )
            flags = output.nsfw_content_detected or [False] * len(rows)
            for image, flagged in zip(output.images, flags, strict=True):
                image.info["flagged"] = bool(flagged)
            return output.images

        batches = self.memory.map_in_batches("pictures", len(pairs), work, at_once)
        drawn = [image for batch in batches for image in batch]
        return [drawn[start : start + images] for start in range(0, len(drawn), images)]

    @torch.no_grad()
    def evaluate(
        self, vectors: Tensor, concepts: Sequence[str], names: dict[str, str], features: Any = None, seed: int = 0
    ) -> list[Score]:
        """Generation accuracy: the share of pictures that the judge assigns to the concept, among the dataset's names.

        Equal words are drawn once, whatever concepts they are judged for.
        """
        distinct, which = torch.unique(vectors.flatten(1), dim=0, return_inverse=True)
        states = self.encode_words(distinct.view(-1, *vectors.shape[1:]))
        pictures = self.generate(states, self.settings.images_per_word, seed)
        rows = zip(which.tolist(), concepts, strict=True)
        return [self.judged(pictures[row], concept, names) for row, concept in rows]

    def judged(self, pictures: Sequence[Image.Image], concept: str, names: dict[str, str]) -> Score:
        """The judge's accuracy on one word's pictures.

        `more` has the second judge's accuracy and the share `flagged` by the safety checker, if there are such.
        """

        def accuracy(judge: Judge) -> float:
            choice = judge.classify(pictures, list(names.values()))
            return (choice == list(names).index(concept)).float().mean().item()

        more = {"second_judge": accuracy(self.second_judge)} if self.second_judge else {}
        if self.pipeline.safety_checker is not None:
            more["flagged"] = float(np.mean([picture.info.get("flagged", False) for picture in pictures]))
        return Score("accuracy", accuracy(self.judge), len(pictures), more)


class SafetyChecker(StableDiffusionSafetyChecker):
    """The safety checker in float32, whatever the denoiser's precision: its thresholds are close together."""

    def forward(self, clip_input: Tensor, images: np.ndarray) -> tuple[np.ndarray, list[bool]]:
        """The pictures (image, y, x, colour), flagged ones black, and the flags."""
        with torch.autocast(clip_input.device.type, enabled=False):
            return super().forward(clip_input.float(), images)


def load_safety_checker(settings: ModelSettings | None) -> dict[str, Any]:
    """A pipeline's arguments for the safety checker, from a folder in transformers' layout; without settings for none.

    Raises FileNotFoundError for missing weights and ValueError for weights of another shape.
    """
    if settings is None:
        return {"safety_checker": None, "feature_extractor": None}
    folder = check_folder(settings, *SAFETY_CHECKER)
    checker = load_whole(SafetyChecker, folder).eval()
    with strict_loading(folder, "image preprocessing"):
        extractor = CLIPImageProcessor.from_pretrained(folder, local_files_only=True)
    return {"safety_checker": checker, "feature_extractor": extractor}
