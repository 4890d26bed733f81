"""Models as people bring them: read rightly, or refused in one sentence."""

import hashlib
import json
import os
import pickle
import shutil
import subprocess
import sys
import time
from pathlib import Path

import diffusers
import pytest
import torch
from diffusers import AutoencoderKL, DDPMPipeline, DDPMScheduler, VQModel
from latent_models import stable_diffusion
from safetensors.torch import load_file, save_file
from test_denoiser import tiny_unet

from mincurate.diffusion import denoiser
from mincurate.diffusion.denoiser import Denoiser
from mincurate.diffusion.load import load_denoiser
from mincurate.errors import UserError

WEIGHTS = "diffusion_pytorch_model.safetensors"


def pipeline(folder: Path, unet=None, scheduler=None, **options) -> Path:
    """A DDPM pipeline as diffusers saves it."""
    DDPMPipeline(unet=unet or tiny_unet(), scheduler=scheduler or DDPMScheduler()).save_pretrained(
        folder, **options
    )
    return folder


def edit(path: Path, **changes) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def refused(model) -> str:
    """The sentence with which a model is refused."""
    with pytest.raises(UserError) as error:
        load_denoiser(str(model))
    sentence = str(error.value)
    assert "\n" not in sentence and Path(str(model)).name in sentence and len(sentence) < 600
    return sentence


def test_saving_and_loading_changes_nothing(tmp_path):
    model = Denoiser(tiny_unet(), denoiser.linear_alphas_cumprod(), "v_prediction", "m", 16)
    model.save(tmp_path / "m")
    again = load_denoiser(str(tmp_path / "m"))
    sigma = model.nearest_sigma(0.16)
    x = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(again.denoise(x, sigma), model.denoise(x, sigma))
    assert again.prediction_type == "v_prediction" and again.image_size == 16
    assert load_denoiser(str(tmp_path / "m")).content_hash() == again.content_hash()
    assert DDPMPipeline.from_pretrained(tmp_path / "m").unet.config.in_channels == 3
    assert list(tmp_path.rglob("*.safetensors")) and not list(tmp_path.rglob("*.bin"))


def test_diffusers_opens_a_model_on_pixel_blocks_and_makes_pictures(tmp_path):
    unet = tiny_unet(12, size=8)
    saved = Denoiser(unet, denoiser.linear_alphas_cumprod(), "v_prediction", "blocks", 16)
    saved.save(tmp_path / "m")
    model = load_denoiser(str(tmp_path / "m"))
    pipe = DDPMPipeline.from_pretrained(tmp_path / "m")
    pipe.set_progress_bar_config(disable=True)
    x_t, timesteps = torch.randn(2, 3, 16, 16), torch.tensor([700, 700])
    with torch.no_grad():
        ours = model.predict(x_t * (1 + model.sigmas[700] ** 2).sqrt(), timesteps)
        torch.testing.assert_close(pipe.unet(x_t, 700).sample, ours)
    assert pipe(num_inference_steps=2).images[0].size == (16, 16)
    # Folders of earlier versions hold the network on blocks itself: it is the same model.
    unet.save_pretrained(tmp_path / "old" / "unet")
    shutil.copytree(tmp_path / "m" / "scheduler", tmp_path / "old" / "scheduler")
    assert load_denoiser(str(tmp_path / "old")).content_hash() == model.content_hash()


def test_the_hash_of_a_model_is_that_of_earlier_versions():
    model = Denoiser(tiny_unet(), denoiser.linear_alphas_cumprod(), "epsilon", "", 16)
    config = {k: v for k, v in model.unet.config.items() if not k.startswith("_")}
    expected = hashlib.blake2b(digest_size=16)
    expected.update(json.dumps(["epsilon", config], default=str).encode())
    expected.update(model.alphas_cumprod.double().numpy().tobytes())
    for name, tensor in sorted(model.unet.state_dict().items()):
        expected.update(name.encode())
        expected.update(tensor.numpy().tobytes())
    assert model.content_hash() == expected.hexdigest()


def test_a_bare_network_is_read_with_the_linear_schedule_or_the_one_beside_it(tmp_path):
    tiny_unet().save_pretrained(tmp_path)
    model = load_denoiser(str(tmp_path))
    torch.testing.assert_close(model.alphas_cumprod, denoiser.linear_alphas_cumprod())
    scheduler = DDPMScheduler(beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction")
    scheduler.save_pretrained(tmp_path)
    model = load_denoiser(str(tmp_path))
    torch.testing.assert_close(model.alphas_cumprod, scheduler.alphas_cumprod)
    assert model.prediction_type == "v_prediction"


def test_the_network_of_a_pipeline_is_read_with_the_pipelines_schedule(tmp_path):
    scheduler = DDPMScheduler(beta_schedule="squaredcos_cap_v2")
    pipeline(tmp_path, scheduler=scheduler)
    edit(tmp_path / "unet" / "config.json")
    (tmp_path / "mincurate.json").write_text('{"trained_sigmas": [0.1, 1.5]}')
    model = load_denoiser(str(tmp_path / "unet"))
    torch.testing.assert_close(model.alphas_cumprod, scheduler.alphas_cumprod)
    assert model.trained_sigmas == (0.1, 1.5)


@pytest.mark.parametrize(
    "name",
    ["DDIM", "EulerDiscrete", "PNDM", "DPMSolverMultistep", "HeunDiscrete", "UniPCMultistep"],
)
def test_every_schedule_of_betas_is_read(tmp_path, name):
    scheduler = getattr(diffusers, f"{name}Scheduler")(beta_schedule="scaled_linear")
    pipeline(tmp_path)
    scheduler.save_pretrained(tmp_path / "scheduler")
    model = load_denoiser(str(tmp_path))
    torch.testing.assert_close(model.alphas_cumprod, scheduler.alphas_cumprod)


def test_a_last_timestep_of_pure_noise_has_a_finite_sigma(tmp_path):
    scheduler = DDPMScheduler(rescale_betas_zero_snr=True, prediction_type="v_prediction")
    model = load_denoiser(str(pipeline(tmp_path, scheduler=scheduler)))
    assert model.sigmas.isfinite().all() and (model.sigmas.diff() > 0).all()
    torch.testing.assert_close(model.alphas_cumprod[:-1], scheduler.alphas_cumprod[:-1])


def test_weights_are_read_in_every_form_that_diffusers_writes(tmp_path):
    unet = tiny_unet()
    forms = {
        "plain": {},
        "pickled": {"safe_serialization": False},
        "sharded": {"max_shard_size": "20kB"},
        "variant": {"variant": "fp16"},
    }
    hashes = {}
    for name, options in forms.items():
        folder = pipeline(tmp_path / name, unet, **options)
        hashes[name] = load_denoiser(str(folder)).content_hash()
    assert len(list((tmp_path / "sharded" / "unet").glob("*.safetensors"))) > 1
    assert not (tmp_path / "variant" / "unet" / WEIGHTS).exists()
    assert set(hashes.values()) == {hashes["plain"]}


def test_of_several_variants_none_is_taken_by_chance(tmp_path):
    for variant in ("fp16", "non_ema"):
        pipeline(tmp_path, variant=variant)
    assert "variants fp16, non_ema only" in refused(tmp_path)


def test_half_precision_is_read_as_float32(tmp_path):
    model = load_denoiser(str(pipeline(tmp_path, tiny_unet().half())))
    assert {p.dtype for p in model.unet.parameters()} == {torch.float32}


class Boom:
    def __reduce__(self):
        return (print, ("executed",))


def test_weights_that_would_run_code_are_refused(tmp_path, capsys):
    tiny_unet().save_pretrained(tmp_path)
    (tmp_path / WEIGHTS).unlink()
    (tmp_path / "diffusion_pytorch_model.bin").write_bytes(pickle.dumps({"x": Boom()}))
    refused(tmp_path)
    assert "executed" not in capsys.readouterr().out


def _filled(value: float):
    unet = tiny_unet()
    with torch.no_grad():
        unet.conv_out.weight[0, 0, 0, 0] = value
    return unet


def _weights(folder: Path, change) -> None:
    file = folder / "unet" / WEIGHTS
    weights = load_file(file)
    change(weights)
    save_file(weights, file, {"format": "pt"})


def _with_autoencoder(folder: Path, pipeline_class: str, autoencoder: str) -> None:
    pipeline(folder)
    if autoencoder == "vqvae":
        part = VQModel(block_out_channels=(8,), norm_num_groups=8, latent_channels=3)
    else:
        part = AutoencoderKL(block_out_channels=(8,), norm_num_groups=8)
    part.save_pretrained(folder / autoencoder)
    edit(
        folder / "model_index.json",
        _class_name=pipeline_class,
        **{autoencoder: ["diffusers", type(part).__name__]},
    )


def _config(folder: Path, **changes) -> None:
    edit(pipeline(folder) / "unet" / "config.json", **changes)


def _schedule(folder: Path, **changes) -> None:
    edit(pipeline(folder) / "scheduler" / "scheduler_config.json", **changes)


def _other_schedule(folder: Path, name: str) -> None:
    pipeline(folder)
    getattr(diffusers, name)().save_pretrained(folder / "scheduler")


def _checkpoint(folder: Path) -> None:
    for name in ("unet", "unet_ema"):
        tiny_unet().save_pretrained(folder / "checkpoint-500" / name)


def _file(folder: Path, name: str, content: bytes = b"x" * 64) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)


LEVELS = {
    "block_out_channels": (16,) * 4,
    "down_block_types": ("DownBlock2D",) * 4,
    "up_block_types": ("UpBlock2D",) * 4,
}
CASES = {
    # weights
    "nan": (lambda f: pipeline(f, _filled(float("nan"))), "NaN or infinite (conv_out.weight)"),
    "infinite": (lambda f: pipeline(f, _filled(float("inf"))), "NaN or infinite"),
    "overflow": (lambda f: pipeline(f, _filled(3e38)), "no finite numbers"),
    "missing": (
        lambda f: _weights(pipeline(f), lambda w: w.pop("conv_in.bias")),
        "1 tensors are missing",
    ),
    "unexpected": (
        lambda f: _weights(
            pipeline(f), lambda w: w.update({"class_embedding.weight": torch.zeros(10, 64)})
        ),
        "no place for 1 of the tensors, such as class_embedding.weight",
    ),
    "cut short": (lambda f: _file(pipeline(f) / "unet", WEIGHTS), "files may be damaged"),
    "empty weights": (lambda f: _file(pipeline(f) / "unet", WEIGHTS, b""), "may be damaged"),
    "git lfs": (
        lambda f: _file(
            pipeline(f) / "unet", WEIGHTS, b"version https://git-lfs.github.com/spec/v1\noid sha\n"
        ),
        "git-lfs",
    ),
    "no weights": (lambda f: (pipeline(f) / "unet" / WEIGHTS).unlink(), "has no weights"),
    # sizes
    "28 px, four levels": (
        lambda f: pipeline(f, tiny_unet(size=28, **LEVELS)),
        "sample_size 28 is not divisible by 8, and its 4 levels halve it 3 times",
    ),
    "rectangular": (
        lambda f: pipeline(f, tiny_unet(size=(16, 32))),
        "rectangular images (32 x 16)",
    ),
    "no size": (lambda f: pipeline(f, tiny_unet(size=None)), "for which image size"),
    "size of text": (lambda f: _config(f, sample_size="big"), "for which image size"),
    # other kinds of models
    "grey": (lambda f: pipeline(f, tiny_unet(1)), "takes 1 channels and returns 1"),
    "latent": (lambda f: pipeline(f, tiny_unet(4)), "takes 4 channels and returns 4"),
    "other classes": (
        lambda f: pipeline(f, tiny_unet(class_embed_type="timestep")),
        "takes classes as timestep embeddings",
    ),
    "fourier": (
        lambda f: pipeline(f, tiny_unet(time_embedding_type="fourier")),
        "continuous noise levels",
    ),
    "other latents": (
        lambda f: _with_autoencoder(f, "LDMPipeline", "vae"),
        "takes 3 channels and returns 3, and its autoencoder has latents of 4",
    ),
    "Stable Diffusion XL": (
        lambda f: (
            _with_autoencoder(f, "StableDiffusionXLPipeline", "vae"),
            edit(f / "unet" / "config.json", _class_name="UNet2DConditionModel"),
            edit(
                f / "model_index.json",
                text_encoder=["transformers", "CLIPTextModel"],
                text_encoder_2=["transformers", "CLIPTextModelWithProjection"],
            ),
        ),
        "(StableDiffusionXLPipeline) needs its part text_encoder_2; mincurate reads pixel models",
    ),
    "Stable Diffusion without text": (
        lambda f: (
            _with_autoencoder(f, "StableDiffusionPipeline", "vae"),
            edit(f / "unet" / "config.json", _class_name="UNet2DConditionModel"),
        ),
        "without a text encoder and its tokenizer",
    ),
    "image conditions": (
        lambda f: edit(
            stable_diffusion(f) / "unet" / "config.json", addition_embed_type="text_time"
        ),
        "takes more than a prompt (addition_embed_type in its config.json); mincurate reads",
    ),
    "FLUX": (
        lambda f: (
            _with_autoencoder(f, "FluxPipeline", "vae"),
            shutil.rmtree(f / "unet"),
            _file(f / "transformer", "config.json", b'{"_class_name": "FluxTransformer2DModel"}'),
        ),
        "(FluxPipeline) has a network of the class FluxTransformer2DModel; mincurate reads",
    ),
    "DeepFloyd": (
        lambda f: edit(
            pipeline(f) / "model_index.json",
            _class_name="IFPipeline",
            text_encoder=["transformers", "T5EncoderModel"],
        ),
        "(IFPipeline) needs its part text_encoder",
    ),
    "text-conditioned network": (
        lambda f: _config(f, _class_name="UNet2DConditionModel"),
        "UNet2DConditionModel without an autoencoder",
    ),
    "transformer": (
        lambda f: _file(f, "config.json", b'{"_class_name": "DiTTransformer2DModel"}'),
        "DiTTransformer2DModel without an autoencoder",
    ),
    "other part": (
        lambda f: edit(pipeline(f) / "model_index.json", mel=["audio_diffusion", "Mel"]),
        "needs its part mel",
    ),
    "ADM": (lambda f: _file(f, "256x256_diffusion_uncond.pt"), "guided-diffusion (ADM)"),
    "EDM": (lambda f: _file(f, "edm-cifar10-32x32-uncond-vp.pkl"), "checkpoint file edm-cifar10"),
    "single safetensors": (lambda f: _file(f, "model.safetensors"), "file model.safetensors"),
    # folders
    "empty": (lambda f: f.mkdir(), "there is no config.json"),
    "checkpoints": (_checkpoint, "checkpoints of a training (checkpoint-500)"),
    "damaged config": (lambda f: _file(f, "config.json", b"{ not"), "damaged file config.json"),
    "list as config": (lambda f: _file(f, "config.json", b"[]"), "not a JSON object"),
    "unknown block": (lambda f: _config(f, down_block_types=["My", "My"]), "cannot be loaded"),
    "damaged record": (lambda f: _file(pipeline(f), "mincurate.json", b"{"), "mincurate.json"),
    "odd record": (
        lambda f: _file(pipeline(f), "mincurate.json", b'{"trained_sigmas": 3}'),
        "damaged file mincurate.json",
    ),
    # noise schedules
    "no schedule": (lambda f: shutil.rmtree(pipeline(f) / "scheduler"), "noise levels are unknown"),
    "damaged schedule": (
        lambda f: _file(pipeline(f) / "scheduler", "scheduler_config.json", b"{"),
        "damaged file scheduler_config.json",
    ),
    "flow": (lambda f: _other_schedule(f, "FlowMatchEulerDiscreteScheduler"), "FlowMatchEuler"),
    "EDM schedule": (lambda f: _other_schedule(f, "EDMEulerScheduler"), "EDMEulerScheduler"),
    "VE": (lambda f: _other_schedule(f, "ScoreSdeVeScheduler"), "ScoreSdeVeScheduler"),
    "consistency": (
        lambda f: _other_schedule(f, "CMStochasticIterativeScheduler"),
        "not variance-preserving",
    ),
    "prediction": (lambda f: _schedule(f, prediction_type="flow"), "predicts 'flow'"),
    "beta schedule": (lambda f: _schedule(f, beta_schedule="odd"), "cannot be read"),
    "text as number": (lambda f: _schedule(f, num_train_timesteps="many"), "cannot be read"),
    "betas beyond 1": (lambda f: _schedule(f, beta_end=1.5), "schedule of"),
    "negative betas": (lambda f: _schedule(f, beta_start=-0.1), "is damaged"),
    "NaN betas": (lambda f: _schedule(f, beta_end=float("nan")), "is damaged"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_model_of_another_kind_or_a_damaged_one_is_refused_in_one_sentence(tmp_path, case):
    make, words = CASES[case]
    make(tmp_path / "model")
    assert words in refused(tmp_path / "model")


def test_parts_of_pipelines_are_not_taken_for_whole_models(tmp_path):
    _with_autoencoder(tmp_path / "ldm", "LDMPipeline", "vqvae")
    assert load_denoiser(str(tmp_path / "ldm" / "unet")).autoencoder is not None
    _checkpoint(tmp_path)
    assert "copy its scheduler folder" in refused(tmp_path / "checkpoint-500")
    assert "copy its scheduler folder" in refused(tmp_path / "checkpoint-500" / "unet_ema")
    DDPMScheduler().save_pretrained(tmp_path / "checkpoint-500" / "scheduler")
    assert load_denoiser(str(tmp_path / "checkpoint-500")).image_size == 16


def test_files_and_places_that_are_no_models_are_one_sentence(tmp_path):
    (tmp_path / "256x256_diffusion.pt").write_bytes(b"x")
    assert "guided-diffusion (ADM)" in refused(tmp_path / "256x256_diffusion.pt")
    assert "There is no model" in refused(tmp_path / "absent")
    assert "There is no model" in refused("./absent")
    assert "There is no model" in refused("a/b/c")


def put_on_hub(cache: Path, name: str, folder: Path) -> None:
    """Leave ``folder`` in Hugging Face's cache as a download of the repository ``name`` would."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    place = cache / "hub" / f"models--{name.replace('/', '--')}"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text(commit)
    shutil.copytree(folder, place / "snapshots" / commit)


LOAD = """
import sys
from mincurate.diffusion.load import load_denoiser
from mincurate.errors import UserError
for name in sys.argv[1:]:
    try:
        model = load_denoiser(name)
        print(model.name, model.prediction_type, model.content_hash())
    except UserError as error:
        print(error)
"""


def load_in_process(cache: Path, *names: str, **environment: str) -> list[str]:
    """A line for each name; in a process, because where the hub is and its cache is read once."""
    done = subprocess.run(
        [sys.executable, "-c", LOAD, *names],
        capture_output=True,
        text=True,
        env={**os.environ, "HF_HOME": str(cache), **environment},
        timeout=240,
        check=True,
    )
    return done.stdout.splitlines()


def test_a_hub_id_is_a_model(tmp_path):
    Denoiser(tiny_unet(), denoiser.linear_alphas_cumprod(), "v_prediction", "", 16).save(
        tmp_path / "pipeline"
    )
    tiny_unet().save_pretrained(tmp_path / "bare")
    _with_autoencoder(tmp_path / "ldm", "LDMPipeline", "vqvae")
    for kind in ("pipeline", "bare", "ldm"):
        put_on_hub(tmp_path / "cache", f"someone/{kind}", tmp_path / kind)
    same = [load_denoiser(str(tmp_path / kind)) for kind in ("pipeline", "bare", "ldm")]
    names = [f"someone/{kind}" for kind in ("pipeline", "bare", "ldm", "nothing")]
    lines = load_in_process(tmp_path / "cache", *names, HF_HUB_OFFLINE="1")
    assert lines[:3] == [
        f"someone/pipeline v_prediction {same[0].content_hash()}",
        f"someone/bare epsilon {same[1].content_hash()}",
        f"someone/ldm epsilon {same[2].content_hash()}",
    ]
    assert "hub cannot be reached" in lines[3]


def test_without_a_network_a_hub_id_is_refused_at_once_or_read_from_the_cache(tmp_path):
    tiny_unet().save_pretrained(tmp_path / "bare")
    put_on_hub(tmp_path / "cache", "someone/bare", tmp_path / "bare")
    started = time.monotonic()
    lines = load_in_process(
        tmp_path / "cache",
        *("google/ddpm-cifar10-32", "someone/bare", "not a name"),
        HF_ENDPOINT="http://127.0.0.1:9",
        HF_HUB_OFFLINE="0",
    )
    assert time.monotonic() - started < 60  # most of it for imports; it was 52 s of retries
    assert "google/ddpm-cifar10-32" in lines[0] and "hub cannot be reached" in lines[0]
    assert lines[1].startswith("someone/bare epsilon ")
    assert "not the name of a model" in lines[2]
