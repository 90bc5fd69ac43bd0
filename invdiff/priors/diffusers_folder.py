"""Folders of the diffusers library: config.json, *.safetensors and scheduler_config.json of a `UNet2DModel`."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError
from torch import Tensor, nn

from invdiff.diffusion.precondition import Epsilon, Parameterisation, Sample, Score, Velocity
from invdiff.diffusion.vp import Schedule
from invdiff.priors.adapted import AdaptedPrior, trained_levels
from invdiff.priors.foreign import Foreign, Format

_PREDICTIONS = {"epsilon": Epsilon, "sample": Sample, "v_prediction": Velocity}


class Parts(NamedTuple):
    """The two folders of a model, which are one where both files lie together."""

    unet: Path
    scheduler: Path


def recognise(foreign: Foreign) -> bool:
    """Whether a folder holds a model of diffusers, of whatever kind."""
    return foreign.path.is_dir() and any(
        (foreign.path / name).exists() for name in ("model_index.json", "config.json", "unet/config.json")
    )


def read(foreign: Foreign, *, parameterisation: Parameterisation | None = None, **declared: Any) -> AdaptedPrior:
    """The folder as a prior; only local files, and of weights only safetensors, are opened.

    Args:
        foreign: the folder, as `save_pretrained` of a `UNet2DModel` (with the scheduler beside it) or of a pipeline of
            both writes it.
        parameterisation: by default what scheduler_config.json says.
        declared: arguments of `AdaptedPrior`. By default two channels are a complex image and all others real ones, in
            [-1, 1], or [0, 1] with the scheduler of the VE score networks, whose noise levels are in units of those.

    Raises:
        ValueError: a model conditioned on text or classes or of latents, weights that are missing or do not fit, or a
            schedule that is not known here.
        ImportError: diffusers is not installed.
    """
    parts = _parts(foreign.path)
    config = _json(parts.unet / "config.json")
    _refuse(foreign.path, config)
    if parameterisation is None:
        found = _from_scheduler(parts.scheduler / "scheduler_config.json", declared)
    else:
        found = {"parameterisation": parameterisation}
    net = _UNet(_load(parts.unet))
    found |= {
        "channels": "complex2" if config["in_channels"] == 2 else "real",
        "net_channels": config["in_channels"],
        "multiple": 2 ** (len(config["block_out_channels"]) - 1),
    }
    return AdaptedPrior(net, **found | declared)


DIFFUSERS = Format("a diffusers folder (config.json, *.safetensors, scheduler_config.json)", recognise, read)


class _UNet(nn.Module):
    """net(x, t) -> tensor, for a network that returns an object."""

    def __init__(self, unet: nn.Module) -> None:
        super().__init__()
        self.unet = unet

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.unet(x, t, return_dict=False)[0]


def _parts(folder: Path) -> Parts:
    nested = Parts(folder / "unet", folder / "scheduler")
    return nested if (nested.unet / "config.json").exists() else Parts(folder, folder)


def _json(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf8")))
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(f"{path} is missing or no JSON file of settings: {error!r}.") from error


def _refuse(folder: Path, config: dict[str, Any]) -> None:
    """Models that are no prior of images."""
    index = folder / "model_index.json"
    latent = [name for name in ("vae", "vqvae", "vqgan", "movq") if index.exists() and name in _json(index)]
    kind = config.get("_class_name", "a model without _class_name")
    if latent:
        raise ValueError(f"{folder} is a model of latents (it has a {latent[0]}); a prior must be of images.")
    if kind != "UNet2DModel":
        raise ValueError(f"{folder} holds {kind}; of diffusers only UNet2DModel, unconditional on images, is a prior.")
    if config.get("class_embed_type") is not None or config.get("num_class_embeds") is not None:
        raise ValueError(
            f"{folder} is conditioned on classes. Wrap it with one of them: "
            "AdaptedPrior(lambda x, t: unet(x, t, labels).sample, parameterisation)."
        )


def _load(folder: Path) -> nn.Module:
    """The network with every one of its weights."""
    try:
        from diffusers import UNet2DModel  # optional
    except ImportError as error:
        raise ImportError("a folder of diffusers needs that library: pip install invdiff[diffusers]") from error
    try:
        unet, report = UNet2DModel.from_pretrained(
            folder, use_safetensors=True, local_files_only=True, low_cpu_mem_usage=False, output_loading_info=True
        )
    except (OSError, RuntimeError, SafetensorError) as error:
        raise ValueError(
            f"{folder} does not hold the weights of its config.json in safetensors files (others are not opened; "
            f"save_pretrained writes them): {str(error).strip().splitlines()[0]}"
        ) from error
    faults = {k: v for k, v in report.items() if v}
    if faults:
        found = "; ".join(f"{len(v)} {k.replace('_', ' ')}, first {v[0]}" for k, v in faults.items())
        raise ValueError(f"the weights in {folder} do not fit its config.json: {found}.")
    return unet


def _from_scheduler(path: Path, declared: dict[str, Any]) -> dict[str, Any]:
    """Parameterisation, and for VE score networks their value range and, in the units declared, their noise levels."""
    settings = _json(path)
    if settings.get("_class_name") == "ScoreSdeVeScheduler":
        net_range = declared.get("net_range", (0.0, 1.0))
        levels = trained_levels(settings["sigma_min"], settings["sigma_max"], net_range, declared.get("range"))
        return {"parameterisation": Score(), "net_range": net_range, **levels}
    prediction = settings.get("prediction_type", "epsilon")
    if prediction not in _PREDICTIONS or "num_train_timesteps" not in settings:
        raise ValueError(
            f"{path} describes {settings.get('_class_name')} with prediction_type {prediction!r}, not one of "
            f"{', '.join(_PREDICTIONS)} on a table of betas. Pass parameterisation."
        )
    return {"parameterisation": _PREDICTIONS[prediction](_schedule(path, settings))}


def _schedule(path: Path, settings: dict[str, Any]) -> Schedule:
    steps, name = settings["num_train_timesteps"], settings.get("beta_schedule", "linear")
    ends = settings.get("beta_start", 1e-4), settings.get("beta_end", 0.02)
    if settings.get("trained_betas") is not None:
        schedule = Schedule.from_betas(settings["trained_betas"])
    elif name in ("linear", "scaled_linear"):
        schedule = Schedule(name, ends, steps)
    elif name == "squaredcos_cap_v2":
        schedule = Schedule.cosine(steps)
    else:
        raise ValueError(f"{path}: the beta_schedule {name!r} is not known. Pass parameterisation.")
    return schedule.zero_snr() if settings.get("rescale_betas_zero_snr") else schedule
