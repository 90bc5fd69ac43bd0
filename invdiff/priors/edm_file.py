"""Networks of the EDM family in files: snapshots (.pkl, restricted), state dictionaries, training_options.json.

Source: Karras et al., Elucidating the Design Space of Diffusion-Based Generative Models, 2022 (EDM preconditioning,
sigma_data 0.5, noise from 0.002 to 80, images in [-1, 1]).
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from invdiff.diffusion.precondition import EDM, ContinuousEpsilon, Parameterisation
from invdiff.networks import build
from invdiff.networks.edm_config import IGNORED, edm_config, is_edm
from invdiff.networks.placed_unet import PlacedSongUNet
from invdiff.priors.adapted import AdaptedPrior, trained_levels
from invdiff.priors.foreign import Foreign, Format
from invdiff.priors.network import NetworkPrior
from invdiff.priors.pickled_objects import Record
from invdiff.priors.prior import Prior
from invdiff.priors.restricted_pickle import is_module, module_tensors
from invdiff.priors.weights import SETS, fill, state

OPTIONS_FILE = "training_options.json"
LEVELS = (0.002, 80.0)  # at which the samplers of the family start and end


class Clues(NamedTuple):
    """What a snapshot says of its network beside the tensors.

    Attributes:
        precond: class of the preconditioning.
        settings: its attributes.
        masked: whether the network is given a sampling mask, or has gates that follow one.
    """

    precond: str = "EDMPrecond"
    settings: Mapping[str, Any] = {}
    masked: bool = False


def recognise(foreign: Foreign) -> bool:
    """Whether a file holds the tensors of an EDM network, pickled or by name."""
    return is_edm(tensors_of(foreign.content))


def tensors_of(content: Any) -> dict[str, Tensor]:
    """Tensors by name, of a checkpoint whose networks may be pickled objects; the averaged ones first."""
    if is_module(content):
        return state(module_tensors(content))
    if isinstance(content, Mapping):
        content = {name: module_tensors(held) if is_module(held) else held for name, held in content.items()}
    return state(content)


def read(
    foreign: Foreign,
    *,
    sigma_data: float | None = None,
    head_width: int = 64,
    label: int | None = None,
    extent: float = 1.0,
    parameterisation: Parameterisation | None = None,
    **declared: Any,
) -> Prior:
    """The checkpoint as a prior; its averaged weights where it has both.

    Args:
        foreign: the checkpoint.
        sigma_data: by default what the file or training_options.json beside it says, else 0.5.
        head_width, label: what tensors do not tell, see `DhariwalUNet`.
        extent: of networks with coordinates, see `PlacedSongUNet`; they become a `NetworkPrior`, for `TiledPrior`.
        parameterisation: by default EDM, or what the class of the snapshot says.
        declared: arguments of the prior. By default two channels are a complex image and all others real ones, in
            [-1, 1] ([0, 1] for one channel with coordinates), and sigma is from 0.002 to 80.

    Raises:
        ValueError: tensors that are missing, unexpected or mis-shaped; a network that is conditioned on a sampling
            mask; a preconditioning that is not known here.
    """
    tensors = {name: t for name, t in tensors_of(foreign.content).items() if name not in IGNORED}
    name, config = edm_config(tensors)
    clues = _clues(foreign)
    _refuse(foreign.path, config, clues, "channels" in declared)
    chosen = parameterisation or _parameterisation(foreign.path, clues, sigma_data)
    placed = config["in_channels"] == config["out_channels"] + 2
    extra: dict[str, Any] = {"head_width": head_width} if name == "dhariwal-unet" else {}
    if placed:
        if name != "song-unet" or not isinstance(chosen, EDM):
            raise ValueError(f"{foreign.path}: coordinates are known of SongUNets with EDM preconditioning only.")
        name, extra = "placed-song-unet", {"extent": extent}
    with torch.random.fork_rng(devices=[]):  # a network is initialised before it is filled
        net = build(name, {**config, **extra, "label": label})
    net = fill(net, tensors, str(foreign.path))
    if isinstance(net, PlacedSongUNet) and isinstance(chosen, EDM):
        return _placed(net, chosen.sigma_data, declared)
    found: dict[str, Any] = {
        "channels": "complex2" if config["out_channels"] == 2 else "real",
        "net_channels": config["in_channels"],
        "multiple": net.multiple,
        "net_range": (-1.0, 1.0),
        **declared,
    }
    if isinstance(chosen, EDM):
        found = trained_levels(*LEVELS, found["net_range"], declared.get("range")) | found
    return AdaptedPrior(net, chosen, **found)


EDM_FILE = Format("EDM (map_layer0, enc.RxR_conv, dec.RxR_block0; snapshots and state dictionaries)", recognise, read)


def _placed(net: PlacedSongUNet, sigma_data: float, declared: dict[str, Any]) -> NetworkPrior:
    channels = declared.pop("channels", "complex2" if net.out_channels == 2 else "real")
    found = {"complex": channels == "complex2", "range": (0.0, 1.0) if net.out_channels == 1 else (-1.0, 1.0)}
    shape = (1 if found["complex"] else net.out_channels, None, None)
    levels = dict(zip(("sigma_min", "sigma_max"), LEVELS, strict=True))
    return NetworkPrior(net, sigma_data=sigma_data, **{**found, "shape": shape, **levels, **declared})


def _clues(foreign: Foreign) -> Clues:
    """From the pickled object, and from training_options.json in the same folder."""
    options = _options(foreign.path.with_name(OPTIONS_FILE))
    network, loss = options.get("network_kwargs", {}), options.get("loss_kwargs", {})
    masked = bool(network.get("gated")) or "Ambient" in str(loss.get("class_name", ""))
    record = _record(foreign.content)
    if record is not None:
        return Clues(record.kind, record.state, masked or bool(record.state.get("_init_kwargs", {}).get("gated")))
    return Clues(str(network.get("class_name", "EDMPrecond")).rpartition(".")[2], network, masked)


def _record(content: Any) -> Record | None:
    """The pickled network, if there is one."""
    held = [content] if isinstance(content, Record) else [content.get(name) for name in SETS]
    return next((record for record in held if is_module(record)), None)


def _options(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        return dict(json.loads(path.read_text(encoding="utf8")))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} is no JSON file of training options: {error}. Restore or move it.") from error


def _refuse(path: Path, config: dict[str, Any], clues: Clues, declared: bool) -> None:
    """Networks of more than an image: as many channels out as in, of which some are a mask or all are latents."""
    channels = config["in_channels"]
    if channels < 4 or channels != config["out_channels"]:
        return
    if clues.masked:
        raise ValueError(
            f"{path} is conditioned on the sampling mask of its training (ambient diffusion): it denoises images seen "
            "through that mask, and is no prior of images. Use the network of fully sampled data (R = 1)."
        )
    if not declared:
        raise ValueError(
            f"{path} takes {channels} channels. If half of them are a sampling mask, or all are latents, it is no "
            "prior of images; if they are an image's, pass channels='real' or 'complex2'."
        )


def _parameterisation(path: Path, clues: Clues, sigma_data: float | None) -> Parameterisation:
    if clues.precond in ("EDMPrecond", "Patch_EDMPrecond", "SongUNet", "DhariwalUNet"):
        return EDM(float(clues.settings.get("sigma_data", 0.5)) if sigma_data is None else sigma_data)
    if clues.precond == "VPPrecond":
        slope, first = (float(clues.settings.get(k, v)) for k, v in (("beta_d", 19.9), ("beta_min", 0.1)))
        return ContinuousEpsilon(first, first + slope, float(clues.settings.get("M", 1000)) - 1)
    raise ValueError(
        f"{path} has the preconditioning {clues.precond}, not EDMPrecond or VPPrecond. Pass parameterisation, for a "
        "network that the file's own code wraps in the same way."
    )
