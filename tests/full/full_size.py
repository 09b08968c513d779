"""The paper's models at full size with random weights: built, saved as hubs publish them, and taken through all that a
word goes through.

`python tests/full/full_size.py NAME SCALE FOLDER` prints one line of JSON: what was run, seconds of each part, peak
memory in GB. One process per model, so that each has its own peak. SCALE "tiny" runs the same code on small layers.
"""

from __future__ import annotations

import gc
import json
import resource
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import open_clip
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg
from open_clip.tokenizer import SimpleTokenizer
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, Owlv2Config, Owlv2ForObjectDetection, Owlv2ImageProcessor

from vwlib.datasets.pictures import FileExample
from vwlib.learn import learn_trials, radii
from vwlib.maps import fit_linear
from vwlib.models.base import TaskModel
from vwlib.models.classification import Classifier
from vwlib.models.detection import Detector
from vwlib.models.generation import Generator
from vwlib.settings import GeneratorSettings, ModelSettings, load_profile
from vwlib.transfer import fit_transfer
from vwlib.trials import Trial

PROMPT = load_profile("paper").prompt
STEPS = 3
NAMES = {"cat": "cat", "dog": "dog"}

# --- configurations as published
# --------------------------------------------------------------------------------------------

#: Stable Diffusion 2.1 (768, v-prediction), file by file. The end-of-text id 2 is CLIP's old value, which the published
#: file keeps.
SD21: dict[str, dict[str, Any]] = {
    "model_index.json": {
        "_class_name": "StableDiffusionPipeline",
        "feature_extractor": ["transformers", "CLIPFeatureExtractor"],
        "requires_safety_checker": False,
        "safety_checker": [None, None],
        "scheduler": ["diffusers", "DDIMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    },
    "scheduler/scheduler_config.json": {
        "_class_name": "DDIMScheduler",
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "beta_start": 0.00085,
        "clip_sample": False,
        "num_train_timesteps": 1000,
        "prediction_type": "v_prediction",
        "set_alpha_to_one": False,
        "skip_prk_steps": True,
        "steps_offset": 1,
        "trained_betas": None,
    },
    "feature_extractor/preprocessor_config.json": {
        "crop_size": 224,
        "do_center_crop": True,
        "do_convert_rgb": True,
        "do_normalize": True,
        "do_resize": True,
        "feature_extractor_type": "CLIPFeatureExtractor",
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
        "resample": 3,
        "size": 224,
    },
    "text_encoder/config.json": {
        "attention_dropout": 0.0,
        "bos_token_id": 0,
        "dropout": 0.0,
        "eos_token_id": 2,
        "hidden_act": "gelu",
        "hidden_size": 1024,
        "initializer_factor": 1.0,
        "initializer_range": 0.02,
        "intermediate_size": 4096,
        "layer_norm_eps": 1e-05,
        "max_position_embeddings": 77,
        "model_type": "clip_text_model",
        "num_attention_heads": 16,
        "num_hidden_layers": 23,
        "pad_token_id": 1,
        "projection_dim": 512,
        "vocab_size": 49408,
    },
    "unet/config.json": {
        "act_fn": "silu",
        "attention_head_dim": [5, 10, 20, 20],
        "block_out_channels": [320, 640, 1280, 1280],
        "center_input_sample": False,
        "cross_attention_dim": 1024,
        "down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
        "downsample_padding": 1,
        "dual_cross_attention": False,
        "flip_sin_to_cos": True,
        "freq_shift": 0,
        "in_channels": 4,
        "layers_per_block": 2,
        "mid_block_scale_factor": 1,
        "norm_eps": 1e-05,
        "norm_num_groups": 32,
        "num_class_embeds": None,
        "only_cross_attention": False,
        "out_channels": 4,
        "sample_size": 96,
        "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
        "upcast_attention": True,
        "use_linear_projection": True,
    },
    "vae/config.json": {
        "act_fn": "silu",
        "block_out_channels": [128, 256, 512, 512],
        "down_block_types": ["DownEncoderBlock2D"] * 4,
        "in_channels": 3,
        "latent_channels": 4,
        "layers_per_block": 2,
        "norm_num_groups": 32,
        "out_channels": 3,
        "sample_size": 768,
        "up_block_types": ["UpDecoderBlock2D"] * 4,
    },
}
#: What a tiny run changes, and nothing else.
TINY_SD = {
    "text_encoder/config.json": {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_attention_heads": 2,
        "num_hidden_layers": 2,
    },
    "unet/config.json": {
        "attention_head_dim": [1, 1, 2, 2],
        "block_out_channels": [16, 16, 32, 32],
        "cross_attention_dim": 32,
        "norm_num_groups": 8,
    },
    "vae/config.json": {"block_out_channels": [8, 8, 16, 16], "norm_num_groups": 4},
}
TINY_OWL = {
    "text_config": {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2},
    "vision_config": {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 64,
        "patch_size": 16,
    },
    "projection_dim": 32,
}
TINY_CLIP = {"embed_dim": 32, "vision_cfg": {"image_size": 28, "layers": 2, "width": 64, "patch_size": 14}}
#: Image sizes in px. The paper's are 768, 960 and 224.
PIXELS = {"generator": {"paper": 768, "tiny": 64}, "detector": {"paper": 960, "tiny": 64}}


def clip_entries() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """CLIP's 49,408 entries and its merges, from the copy that open_clip ships."""
    source = SimpleTokenizer()
    names = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    return {names.get(entry, entry): index for entry, index in source.encoder.items()}, list(source.bpe_ranks)


def write_tokenizer(folder: Path, context: int) -> None:
    """CLIP's tokenizer in the files that transformers' repositories of that time hold."""
    entries, merges = clip_entries()
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "vocab.json", entries)
    (folder / "merges.txt").write_text(
        "\n".join(["#version: 0.2", *(" ".join(pair) for pair in merges), ""]), encoding="utf-8"
    )
    special = {
        "bos_token": "<|startoftext|>",
        "eos_token": "<|endoftext|>",
        "unk_token": "<|endoftext|>",
        "pad_token": "!",
    }
    write_json(folder / "special_tokens_map.json", special)
    write_json(
        folder / "tokenizer_config.json",
        special | {"do_lower_case": True, "model_max_length": context, "tokenizer_class": "CLIPTokenizer"},
    )


def write_json(file: Path, value: object) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(value, indent=1), encoding="utf-8")


# --- the models, as their repositories hold them
# ----------------------------------------------------------------------------


def save_generator(folder: Path, scale: str) -> None:
    """Stable Diffusion 2.1's folder, part by part, so that one part is in memory at a time."""
    configs = {file: config | (TINY_SD.get(file, {}) if scale == "tiny" else {}) for file, config in SD21.items()}
    for file in ("model_index.json", "scheduler/scheduler_config.json", "feature_extractor/preprocessor_config.json"):
        write_json(folder / file, configs[file])
    write_tokenizer(folder / "tokenizer", 77)
    CLIPTextModel(CLIPTextConfig(**configs["text_encoder/config.json"])).save_pretrained(folder / "text_encoder")
    UNet2DConditionModel.from_config(configs["unet/config.json"]).save_pretrained(folder / "unet")
    AutoencoderKL.from_config(configs["vae/config.json"]).save_pretrained(folder / "vae")


def save_detector(folder: Path, scale: str) -> None:
    """OWL-v2 base's folder."""
    side = PIXELS["detector"][scale]
    config = Owlv2Config(**(TINY_OWL if scale == "tiny" else {"vision_config": {"image_size": side, "patch_size": 16}}))
    Owlv2ForObjectDetection(config).save_pretrained(folder)
    Owlv2ImageProcessor(size={"height": side, "width": side}).save_pretrained(folder)
    write_tokenizer(folder, 16)


def save_open_clip(folder: Path, scale: str) -> None:
    """The folder of a CLIP ViT-L/14 with QuickGELU: DFN2B's, and OpenAI's, which is built alike."""
    config = open_clip.get_model_config("ViT-L-14-quickgelu")
    if scale == "tiny":
        config |= TINY_CLIP | {"text_cfg": config["text_cfg"] | {"width": 32, "heads": 2, "layers": 2}}
    model = CLIP(
        config["embed_dim"],
        CLIPVisionCfg(**config["vision_cfg"]),
        CLIPTextCfg(**config["text_cfg"]),
        quick_gelu=config["quick_gelu"],
    )
    folder.mkdir(parents=True, exist_ok=True)
    save_file(
        {key: value.contiguous() for key, value in model.state_dict().items()}, folder / "open_clip_model.safetensors"
    )
    preprocess = {
        "mean": open_clip.OPENAI_DATASET_MEAN,
        "std": open_clip.OPENAI_DATASET_STD,
        "interpolation": "bicubic",
        "resize_mode": "shortest",
    }
    write_json(folder / "open_clip_config.json", {"model_cfg": config, "preprocess_cfg": preprocess})


def load_full(name: str, folder: Path, scale: str) -> TaskModel:
    """The model through the project's own loading code; the generator's judge is a tiny one, so that one large model is
    in memory.
    """
    settings = ModelSettings(source=str(folder), activation=None if name == "detector" else "quick_gelu")
    if name == "detector":
        return Detector.load(load_profile("smoke", detector=settings, prompt=PROMPT, device="cpu"))
    if name != "generator":
        return Classifier.open(settings, prompt=PROMPT)
    judge = ModelSettings(source=str(folder.with_name("tiny-judge")))
    drawing = GeneratorSettings(
        source=str(folder), image_size=PIXELS[name][scale], inference_steps=2, images_per_word=1
    )
    return Generator.load(load_profile("smoke", generator=drawing, judge=judge, prompt=PROMPT, device="cpu"))


SAVERS = {"generator": save_generator, "detector": save_detector, "classifier": save_open_clip, "judge": save_open_clip}


# --- the way of a word
# ------------------------------------------------------------------------------------------------------


def made_up_examples(folder: Path) -> list[FileExample]:
    """A noisy picture of 640 × 480 px for each of two names, with a box."""
    folder.mkdir(parents=True, exist_ok=True)
    examples = []
    for seed, name in enumerate(NAMES):
        path = folder / f"{name}.png"
        Image.fromarray(np.random.default_rng(seed).integers(0, 256, (480, 640, 3), dtype=np.uint8)).save(path)
        examples.append(FileExample("COCO", path, name, np.array([[100, 80, 400, 300]], np.float32), [name]))
    return examples


class Clock:
    """Seconds of each part."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, part: str):
        start = time.perf_counter()
        yield
        self.seconds[part] = round(time.perf_counter() - start, 3)


def measure(name: str, scale: str, root: Path) -> dict[str, Any]:
    """Build, save, load, splice, learn three steps, project, transfer and evaluate; each part is checked as it goes."""
    torch.manual_seed(0)
    clock, folder = Clock(), root / f"{scale}-{name}"
    with clock("build and save"):
        SAVERS[name](folder, scale)
        if name == "generator":
            save_open_clip(root / "tiny-judge", "tiny")
    gc.collect()
    with clock("load"):
        model = load_full(name, folder, scale)
    with clock("splice"), torch.no_grad():
        cat = model.word_table()[model.vocabulary.token_of("cat")]
        assert torch.equal(model.encode_words(cat[None, None]), model.encode_prompts([PROMPT.format("cat")])), (
            "a spliced word is not the typed one"
        )
    examples = made_up_examples(root / "pictures")
    with clock("prepare"):
        frozen = model.cache_features(examples)
    trials = [Trial("COCO", "cat", "bear", delta=0.5)]
    with clock(f"{STEPS} steps"):  # one word, one image a step (two where the loss needs an image of each kind)
        batch = 2 if model.task == "classification" else 1
        learned = learn_trials(model, frozen, trials, steps=STEPS, lr=0.02, batch=batch, progress=False)
    anchor = model.word_table()[model.vocabulary.token_of("bear")]
    distances, radius = (learned.vectors[0] - anchor).norm(dim=-1), radii(model, trials)
    assert torch.isfinite(learned.losses).all() and learned.vectors.shape == (1, 4, len(cat)), (
        "the word is not finite or of another shape"
    )
    assert torch.all(distances > 0) and torch.all(distances <= radius * 1.0001), (
        "the word did not move or left its ball"
    )
    source = stand_in(model, 512 if scale == "paper" else 16)
    with clock("transfer map"):
        mapping = fit_transfer(source, model)
    carried = mapping(source.word_table()[[model.vocabulary.token_of("cat")] * 4][None])
    with clock("evaluate"):
        scores = model.evaluate(torch.cat([learned.vectors, carried]), ["cat", "cat"], NAMES, frozen)
    assert all(0 <= score.value <= 1 for score in scores), "a score is no share"
    if isinstance(model, Classifier):
        with clock("judge"):
            assert set(model.classify([example.image() for example in examples], list(NAMES)).tolist()) <= {0, 1}
    return result(name, scale, clock, model, words=len(model.vocabulary.words()), pixels=pixels_of(name, scale))


def measure_map(scale: str) -> dict[str, Any]:
    """The largest map, from 1,024 to 768 dimensions over more words than CLIP's vocabulary has as single tokens."""
    clock, rows = Clock(), 40_000 if scale == "paper" else 400
    source, truth = (
        torch.randn(rows, 1024 if scale == "paper" else 32),
        torch.randn(1024 if scale == "paper" else 32, 768 if scale == "paper" else 24),
    )
    with clock("transfer map"):
        found = fit_linear(source, source @ truth).matrix
    assert torch.allclose(found, truth, atol=1e-2), "a known map is not recovered"
    return result("map", scale, clock, None, words=rows)


def stand_in(model: TaskModel, d: int) -> Any:
    """A model that has words of another width, and nothing else: what a transfer map needs of its source."""
    table = torch.randn(model.word_table().shape[0], d) * 0.02
    return SimpleNamespace(task="stand-in", vocabulary=model.vocabulary, word_table=lambda: table)


def pixels_of(name: str, scale: str) -> int:
    return PIXELS[name][scale] if name in PIXELS else 224 if scale == "paper" else TINY_CLIP["vision_cfg"]["image_size"]


def parameters(model: TaskModel) -> int:
    """How many weights the model has."""
    parts = (
        [model.pipeline.unet, model.pipeline.vae, model.pipeline.text_encoder]
        if isinstance(model, Generator)
        else [model.model]
    )
    return sum(weight.numel() for part in parts for weight in nn.Module.parameters(part))


def result(name: str, scale: str, clock: Clock, model: TaskModel | None, **more: Any) -> dict[str, Any]:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # Linux counts in kB
    weights = {"parameters": parameters(model), "d": model.word_table().shape[1]} if model else {}
    threads = {"threads": torch.get_num_threads(), "torch": torch.__version__}
    return {
        "name": name,
        "scale": scale,
        "seconds": clock.seconds,
        "peak_gb": round(peak, 2),
        **weights,
        **more,
        **threads,
    }


if __name__ == "__main__":
    name, scale, root = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    print(json.dumps(measure_map(scale) if name == "map" else measure(name, scale, root)))
