"""Missing, truncated and misfitting weights are named in one sentence."""

import json
import shutil
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from hypothesis import given, settings
from hypothesis import strategies as st
from open_clip.model import CustomTextCLIP
from open_clip.transformer import QuickGELU
from PIL import Image
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    Owlv2ImageProcessor,
    Owlv2Processor,
    PreTrainedTokenizerFast,
)

from vwlib.models import load_model
from vwlib.models.base import clip_vocabulary
from vwlib.models.classification import Classifier
from vwlib.models.generation import Generator, load_safety_checker
from vwlib.models.judge import Judge, check_open_clip
from vwlib.models.loading import (
    DIFFUSERS,
    TRANSFORMERS,
    find_weights,
    load_whole,
    missing_files,
    resolve,
    seen_words,
    variant_of,
)
from vwlib.settings import ModelSettings, load_profile
from vwlib.study.digest import digest_folder
from vwlib.tools import doctor
from vwlib.tools.weights import missing_shards, read_index

ROLES = {"generation": "generator", "detection": "detector", "classification": "classifier"}
PROFILE = load_profile("smoke")
#: Any json, small.
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=8)
    | st.sampled_from(["a.safetensors", "../a.safetensors", "a.bin", "model_cfg"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.just("model_cfg"), inner, max_size=3)
    ),
    max_leaves=5,
)
FILES = {
    "classification": ("classifier", "open_clip_model.safetensors"),
    "detection": ("detector", "model.safetensors"),
    "generation": ("generator", "unet/diffusion_pytorch_model.safetensors"),
}


def copied(task: str, folder: Path):
    name, file = FILES[task]
    shutil.copytree(resolve(getattr(PROFILE, name).source), folder / name)
    settings = getattr(PROFILE, name).model_dump() | {"source": str(folder / name)}
    return load_profile("smoke", **{name: settings}), folder / name / file


@pytest.mark.parametrize("task", FILES)
def test_missing_weights_are_named(task, tmp_path):
    profile, file = copied(task, tmp_path)
    file.unlink()
    with pytest.raises(FileNotFoundError, match=f"{file.name} is missing"):
        load_model(task, profile)


@pytest.mark.parametrize("task", FILES)
def test_a_missing_folder_is_named(task, tmp_path):
    profile, _ = copied(task, tmp_path)
    shutil.rmtree(tmp_path / FILES[task][0])
    with pytest.raises(FileNotFoundError, match=f"{FILES[task][0]} is missing"):
        load_model(task, profile)


@pytest.mark.parametrize("task", FILES)
def test_truncated_weights_are_named(task, tmp_path):
    profile, file = copied(task, tmp_path)
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ValueError, match=f"The weights in .*{FILES[task][0]}"):
        load_model(task, profile)


@pytest.mark.parametrize(
    "task,change",
    [
        ("classification", ("embed_dim", 64)),
        ("detection", ("projection_dim", 32)),
        ("generation", ("cross_attention_dim", 50)),
    ],
)
def test_weights_of_another_shape_are_named(task, change, tmp_path):
    profile, file = copied(task, tmp_path)
    config = {
        "classification": file.parent / "open_clip_config.json",
        "detection": file.parent / "config.json",
        "generation": file.parent / "config.json",
    }[task]
    value = json.loads(config.read_text())
    (value["model_cfg"] if task == "classification" else value)[change[0]] = change[1]
    config.write_text(json.dumps(value))
    with pytest.raises(ValueError, match=f"The weights in .*{FILES[task][0]}"):
        load_model(task, profile)


LAYER = "text_model.encoder.layers.0."
PARTS = [
    ("detection", "model.safetensors", lambda key: LAYER in key, rf"missing tensors: 16, the first is owlv2\.{LAYER}"),
    (
        "generation",
        "unet/diffusion_pytorch_model.safetensors",
        lambda key: key.startswith("mid_block"),
        r"the first is mid_block",
    ),
    (
        "generation",
        "vae/diffusion_pytorch_model.safetensors",
        lambda key: key == "decoder.conv_in.bias",
        r"tensors: 1, the first is decoder\.conv_in\.bias",
    ),
    (
        "generation",
        "text_encoder/model.safetensors",
        lambda key: "token_embedding" in key,
        r"missing tensors: 1, the first is .*token_embedding",
    ),
]


@pytest.mark.parametrize("task,file,gone,sentence", PARTS)
def test_a_tensor_that_the_file_lacks_is_not_made_up(task, file, gone, sentence, tmp_path):
    profile, weights = copied(task, tmp_path)
    weights = tmp_path / FILES[task][0] / file
    kept = {key: value for key, value in load_file(weights).items() if not gone(key)}
    save_file(kept, weights, {"format": "pt"})
    with pytest.raises(ValueError, match=f"The weights in {weights.parent} .*{sentence}"):
        load_model(task, profile)


@pytest.mark.parametrize(
    "task,file",
    [
        ("detection", "tokenizer.json"),
        ("generation", "tokenizer/tokenizer.json"),
        ("generation", "scheduler/scheduler_config.json"),
    ],
)
def test_a_missing_tokenizer_or_scheduler_is_named(task, file, tmp_path):
    profile, _ = copied(task, tmp_path)
    (tmp_path / FILES[task][0] / file).unlink()
    with pytest.raises(FileNotFoundError, match=f"{file} is missing"):
        load_model(task, profile)


def test_a_tokenizer_may_be_in_the_older_form(tmp_path):
    assert missing_files(tmp_path, TRANSFORMERS) == list(TRANSFORMERS)
    for file in ("config.json", "model.safetensors", "processor_config.json", "vocab.json", "merges.txt"):
        (tmp_path / file).write_text('{"image_processor": {}}')
    assert missing_files(tmp_path, TRANSFORMERS) == []


@pytest.mark.parametrize(
    "words",
    [{"a": 0, "<|startoftext|>": 1, "<|endoftext|>": 2}, {"<|startoftext|>": 0, "<|endoftext|>": 1, "a</w>": 2}],
)
def test_a_tokenizer_that_is_not_clips_is_refused(words, tmp_path):
    CLIPTokenizer(vocab=words).save_pretrained(tmp_path)
    tokenizer = CLIPTokenizer.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match=str(tmp_path)):
        clip_vocabulary(tokenizer, 16, None)


@pytest.mark.parametrize("pad", ["!", "<|endoftext|>"])
def test_prompts_are_padded_as_the_tokenizer_pads(pad):
    tokenizer = CLIPTokenizer.from_pretrained(resolve(PROFILE.detector.source), pad_token=pad)
    vocabulary = clip_vocabulary(tokenizer, 16, None)
    theirs = tokenizer("a cat", padding="max_length", max_length=16)["input_ids"]
    assert vocabulary.prompt("a cat").tolist() == theirs and theirs[-1] == tokenizer.convert_tokens_to_ids(pad)


def test_a_damaged_tokenizer_or_preprocessing_is_named(tmp_path):
    profile, file = copied("detection", tmp_path)
    (file.parent / "preprocessor_config.json").write_text("no json")
    with pytest.raises(ValueError, match=r"tokenizer and image preprocessing in .*detector"):
        load_model("detection", profile)


def test_an_unknown_task_is_refused():
    with pytest.raises(
        ValueError, match="'segmentation' is no task; choose from generation, detection, classification"
    ):
        load_model("segmentation", PROFILE)


@pytest.mark.parametrize("role", load_profile("paper").models)
def test_every_model_of_the_paper_that_is_missing_is_named(role, tmp_path):
    settings = load_profile("paper").models[role].model_copy(update={"source": str(tmp_path / "nowhere")})
    with pytest.raises(FileNotFoundError, match="nowhere is missing"):
        {"judge": Classifier.open, "second_judge": Judge.open, "safety_checker": load_safety_checker}.get(
            role, lambda _: load_model(role, load_profile("paper", **{ROLES[role]: settings.model_dump()}))
        )(settings)


@pytest.mark.parametrize("name", ["model.safetensors", "scheduler/scheduler_config.json"])
def test_a_models_digest_follows_its_weights_and_its_configurations(name, tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder / "scheduler").mkdir(parents=True)
        for file in ("model.safetensors", "scheduler/scheduler_config.json", "README.md"):
            (tmp_path / folder / file).write_text("1")
    (tmp_path / "b" / "README.md").write_text("2")
    assert digest_folder(str(tmp_path / "a")) == digest_folder(str(tmp_path / "b"))
    digest_folder.cache_clear()
    (tmp_path / "b" / name).write_text("2")
    assert digest_folder(str(tmp_path / "a")) != digest_folder(str(tmp_path / "b"))


def small_unet() -> UNet2DConditionModel:
    torch.manual_seed(0)
    kinds = {
        "down_block_types": ("DownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "UpBlock2D"),
        "mid_block_type": None,
    }
    return UNet2DConditionModel(
        8, block_out_channels=(32, 32), cross_attention_dim=8, layers_per_block=1, norm_num_groups=8, **kinds
    )


def small_text_encoder() -> CLIPTextModel:
    torch.manual_seed(0)
    return CLIPTextModel(
        CLIPTextConfig(vocab_size=99, hidden_size=32, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2)
    )


FORMS = {
    "half": {"variant": "fp16"},
    "shards": {"max_shard_size": "60KB"},
    "shards of half": {"variant": "fp16", "max_shard_size": "15KB"},
    "other half": {"variant": "bf16"},
}
SMALL = {
    "diffusers": (small_unet, "diffusion_pytorch_model.safetensors"),
    "transformers": (small_text_encoder, "model.safetensors"),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("library", SMALL)
def test_weights_are_read_in_every_form_in_which_the_libraries_save_them(library, form, tmp_path):
    make, name = SMALL[library]
    stored = {"fp16": torch.float16, "bf16": torch.bfloat16, None: torch.float32}[FORMS[form].get("variant")]
    make().to(stored).save_pretrained(tmp_path, **FORMS[form])
    assert (
        not (tmp_path / name).exists()
        and missing_files(tmp_path, [name]) == []
        and variant_of(tmp_path / name) == FORMS[form].get("variant")
    )
    assert (len(find_weights(tmp_path / name)) > 1) == ("max_shard_size" in FORMS[form])
    loaded, before = load_whole(type(make()), tmp_path), make()
    for key, value in loaded.state_dict().items():
        assert torch.equal(value, before.state_dict()[key].to(stored).to(value.dtype)) and (
            value.dtype == torch.float32 or not value.is_floating_point()
        )


@pytest.mark.parametrize("library", SMALL)
def test_a_shard_that_is_not_there_or_lacks_a_tensor_is_named(library, tmp_path):
    make, name = SMALL[library]
    make().save_pretrained(tmp_path, max_shard_size="60KB")
    last = find_weights(tmp_path / name)[-1]
    kept = load_file(last)
    del kept[max(kept)]
    save_file(kept, last, {"format": "pt"})
    with pytest.raises(ValueError, match=str(tmp_path)):
        load_whole(type(make()), tmp_path)
    last.unlink()
    assert missing_shards(tmp_path) == [last]
    with pytest.raises(ValueError, match=str(tmp_path)):
        load_whole(type(make()), tmp_path)


def test_a_pipeline_of_half_precision_is_loaded_whole(tmp_path):
    profile, _ = copied("generation", tmp_path)
    for file in tmp_path.rglob("*.safetensors"):
        half = {key: value.half() if value.is_floating_point() else value for key, value in load_file(file).items()}
        save_file(half, file.with_name(file.name.replace(".safetensors", ".fp16.safetensors")), {"format": "pt"})
        file.unlink()
    generator = Generator.load(profile)
    assert {
        part.dtype for part in (generator.pipeline.unet, generator.pipeline.vae, generator.pipeline.text_encoder)
    } == {torch.float32}
    notes = [
        finding.text for finding in doctor.model("generation", profile.generator, DIFFUSERS) if finding.state == "note"
    ]
    assert sum("half precision" in text for text in notes) == 1


def test_a_detector_is_read_as_transformers_5_saves_it(tmp_path):
    profile, _ = copied("detection", tmp_path)
    folder = tmp_path / "detector"
    processor = Owlv2ImageProcessor.from_pretrained(folder)
    Owlv2Processor(image_processor=processor, tokenizer=CLIPTokenizer.from_pretrained(folder)).save_pretrained(folder)
    (folder / "preprocessor_config.json").unlink()
    assert load_model("detection", profile).processor.to_dict() == processor.to_dict()
    for content in ('{"processor_class": "Owlv2Processor"}', "[]"):
        (folder / "processor_config.json").write_text(content)
        with pytest.raises((ValueError, FileNotFoundError), match=r"processor_config\.json"):
            load_model("detection", profile)


@given(
    content=st.binary(max_size=30)
    | JSON.map(lambda value: json.dumps(value).encode())
    | JSON.map(lambda held: json.dumps({"weight_map": held}).encode())
)
@settings(max_examples=80, deadline=None)
def test_any_index_lists_files_beside_it_or_is_named(content, tmp_path_factory):
    index = tmp_path_factory.mktemp("index") / "model.safetensors.index.json"
    index.write_bytes(content)
    try:
        found = read_index(index)
    except ValueError as error:
        assert index.name in str(error) and "\n" not in str(error)
    else:
        assert found and all(path.parent == index.parent for path in found)


@given(content=st.binary(max_size=30) | JSON.map(lambda value: json.dumps(value).encode()))
@settings(max_examples=60, deadline=None)
def test_any_configuration_is_read_or_named(content, tmp_path_factory):
    folder = tmp_path_factory.mktemp("config")
    for name, read in (
        ("words.json", seen_words),
        ("open_clip_config.json", lambda there: check_open_clip(ModelSettings(source=str(there)), there)),
    ):
        (folder / name).write_bytes(content)
        try:
            read(folder)
        except ValueError as error:
            assert name in str(error) and "\n" not in str(error)


@pytest.mark.parametrize(
    "content", ["[]", "{}", '{"text_config": 3}', '{"text_config": {"hidden_size": "wide"}}', "3", "null"]
)
def test_a_configuration_that_means_nothing_is_one_sentence(content, tmp_path):
    profile, file = copied("detection", tmp_path)
    (file.parent / "config.json").write_text(content)
    with pytest.raises(ValueError, match="detector") as caught:
        load_model("detection", profile)
    assert "\n" not in str(caught.value)


def open_clip_folder(folder: Path, **changes) -> ModelSettings:
    """A small model as its users save it: configuration and weights in open_clip's layout."""
    text = {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
    vision = {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 16}
    config = {"embed_dim": 16, "vision_cfg": vision, "text_cfg": text} | changes
    folder.mkdir(parents=True, exist_ok=True)
    arguments = {key: value for key, value in config.items() if key not in ("vision_cfg", "text_cfg", "custom_text")}
    kind = CustomTextCLIP if config.get("custom_text") else open_clip.CLIP
    text = open_clip.CLIPTextCfg(**config["text_cfg"])
    text.hf_tokenizer_name = None
    model = kind(vision_cfg=open_clip.CLIPVisionCfg(**config["vision_cfg"]), text_cfg=text, **arguments)
    save_file(
        {key: value.contiguous().clone() for key, value in model.state_dict().items()},
        folder / "open_clip_model.safetensors",
    )
    preprocess = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "resize_mode": "shortest"}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": preprocess}))
    return ModelSettings(source=str(folder))


def test_the_activation_is_the_one_that_the_weights_were_trained_with(tmp_path):
    quick = open_clip_folder(tmp_path / "quick", quick_gelu=True).model_copy(update={"activation": "quick_gelu"})
    classifier = Classifier.open(quick)
    assert sum(isinstance(module, QuickGELU) for module in classifier.model.modules()) == 4
    plain = open_clip_folder(tmp_path / "plain").model_copy(update={"activation": "quick_gelu"})
    with pytest.raises(ValueError, match="quick_gelu"):
        Classifier.open(plain)
    assert Classifier.open(plain.model_copy(update={"activation": None})).vocabulary.context == 16


def test_a_configuration_that_would_run_its_own_code_is_refused(tmp_path):
    settings = open_clip_folder(tmp_path)
    config = json.loads((tmp_path / "open_clip_config.json").read_text())
    config["model_cfg"]["text_cfg"]["tokenizer_kwargs"] = {"trust_remote_code": True}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="trust_remote_code"):
        Judge.open(settings)
    (tmp_path / "open_clip_config.json").write_text("{}")
    with pytest.raises(ValueError, match="model_cfg"):
        Judge.open(settings)


def test_a_judge_may_have_a_tokenizer_of_its_own(tmp_path):
    text = {
        "context_length": 8,
        "vocab_size": 12,
        "hf_tokenizer_name": "own",
        "width": 32,
        "heads": 2,
        "layers": 2,
        "no_causal_mask": True,
        "pool_type": "last",
    }
    settings = open_clip_folder(tmp_path, custom_text=True, text_cfg=text)
    words = {word: number for number, word in enumerate(["[PAD]", "[UNK]", "a", "photo", "of", "cat", "dog"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(tmp_path)
    judge = Judge.open(settings)
    pictures = [Image.new("RGB", (40, 30), colour) for colour in ("red", "teal")]
    assert judge.tokenize(["a photo of a cat"]).tolist() == [[2, 3, 4, 2, 5, 0, 0, 0]]
    assert judge.encode_names(["cat", "dog"]).shape == (2, 16) and set(
        judge.classify(pictures, ["cat", "dog"]).tolist()
    ) <= {0, 1}
    with pytest.raises(ValueError, match=str(tmp_path)):
        Classifier.open(settings)


@torch.no_grad()
def test_products_beyond_half_precision_stay_finite():
    torch.manual_seed(0)
    unet = UNet2DConditionModel(  # SD 2.1's kinds of blocks, small
        sample_size=8,
        block_out_channels=(32, 64),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=16,
        attention_head_dim=(2, 4),
        layers_per_block=1,
        norm_num_groups=8,
        use_linear_projection=True,
        upcast_attention=True,
    ).eval()
    for name, weight in unet.named_parameters():
        if "to_q.weight" in name or "to_k.weight" in name:
            weight.mul_(3000)  # the products reach 1e7; half precision ends at 65,504
    inputs = torch.randn(1, 4, 8, 8), torch.tensor([10]), torch.randn(1, 5, 16)
    exact = unet(*inputs).sample
    with torch.autocast("cpu", torch.float16):
        assert (unet(*inputs).sample.float() - exact).abs().mean() < 0.1 * exact.abs().mean()
        unet.set_attn_processor(
            AttnProcessor()
        )  # diffusers' other attention, under autocast: what the first assertion guards against
        assert not torch.isfinite(unet(*inputs).sample).all()


def small_checker() -> StableDiffusionSafetyChecker:
    vision = {
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 32,
        "patch_size": 16,
    }
    checker = StableDiffusionSafetyChecker(CLIPConfig(projection_dim=8, vision_config=vision))
    with torch.no_grad():
        checker.concept_embeds_weights.fill_(-2)  # cosines are all above: every picture is flagged
    return checker


def test_the_safety_checker_is_read_as_it_is_published_and_looks_in_full_precision(tmp_path):
    small_checker().save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    published = {
        f"vision_model.{key}" if key.startswith("vision_model.") else key: value for key, value in weights.items()
    }
    save_file(published, tmp_path / "model.safetensors", {"format": "pt"})
    CLIPImageProcessor().save_pretrained(tmp_path)
    checker, seen = load_safety_checker(ModelSettings(source=str(tmp_path)))["safety_checker"], []
    assert all(torch.equal(value, weights[key]) for key, value in checker.state_dict().items())
    checker.visual_projection.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    with torch.autocast("cpu", torch.bfloat16):
        _, flagged = checker(torch.zeros(1, 3, 32, 32), np.ones((1, 4, 4, 3)))
    assert flagged == [True] and seen == [torch.float32]


def test_the_safety_checker_blackens_and_is_counted(tmp_path):
    small_checker().save_pretrained(tmp_path)
    CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    checked = {"safety_checker": {"source": str(tmp_path)}, "inference_steps": 1}
    profile = load_profile("smoke", generator=checked, second_judge=PROFILE.judge.model_dump())
    generator = Generator.load(profile)
    (score,) = generator.evaluate(generator.word_table()[[5]][:, None], ["cat"], {"cat": "cat", "dog": "dog"})
    assert score.more == {"second_judge": score.value, "flagged": 1.0}
    (pictures,) = generator.generate(generator.encode_prompts(["a photo of cat"]), 1)
    assert pictures[0].getextrema() == ((0, 0),) * 3
    kept = {key: value for key, value in load_file(tmp_path / "model.safetensors").items() if key != "concept_embeds"}
    save_file(kept, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=r"missing tensors: 1, the first is concept_embeds"):
        Generator.load(profile)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors is missing"):
        Generator.load(profile)
