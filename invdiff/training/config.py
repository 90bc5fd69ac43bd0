"""What a training is: frozen dataclasses, one per part, checked when they are made.

`invdiff.training.toml` reads them from a file. How long a training runs, where its files are and on what machine it
runs are no part of it: those are arguments of `train`.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

from invdiff.checks import require
from invdiff.units import MU_WATER

SIGMAS = (0.05, 0.1, 0.2, 0.4, 0.6, 1.2)


@dataclass(frozen=True)
class Data:
    """Which images, and their scale: u = (v - offset) / divisor, with u = 0 where there is no signal.

    path: what `invdiff.data.images.open_images` opens. val: another such path with held-out images. options: further
        arguments of it, such as format or key.
    scaling: "percentile" (MRI: the percentile of |v| of each slice becomes u = 1; training images are u) or "window"
        (CT: the window becomes u in (0, 2), clipped below, and training images are u - 1, in (-1, 1)).
    window: (low, high) in `unit`; low stands for no attenuation. mu_water: mm^-1, turns HU into attenuation.
    channels: "complex" (two network channels) or "real".
    balance: a slice is drawn with probability proportional to (slices of its subject)^-balance.
    val_share: share of the subjects that is held out where neither the file nor `val` says so.
    """

    path: str = ""
    val: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    scaling: Literal["percentile", "window"] = "percentile"
    percentile: float = 99.5
    window: tuple[float, float] = (-1000.0, 1000.0)
    unit: Literal["HU", "mm^-1"] = "HU"
    mu_water: float = MU_WATER
    channels: Literal["complex", "real"] = "complex"
    balance: float = 0.0
    val_share: float = 0.1

    def __post_init__(self) -> None:
        require("data.percentile", self.percentile, above=0, at_most=100)
        require("data.window[1]", self.window[1], above=self.window[0])
        require("data.mu_water", self.mu_water, above=0)
        require("data.balance", self.balance, at_least=0, at_most=1)
        require("data.val_share", self.val_share, above=0, at_most=0.5)
        if self.scaling == "window" and self.channels == "complex":
            raise ValueError('data.scaling = "window" is for real images; set data.channels = "real".')


@dataclass(frozen=True)
class Batch:
    """What one optimiser step sees.

    images: full images per step, over all processes together. size: side of a full image, pixels.
    crop: side of a crop; a step of crops has (size // crop)^2 times as many. crop_share: share of the steps with crops.
    accumulate: parts that a step is computed in, where memory is short. checkpoint: compute activations again instead
    of keeping them, for networks that can. Neither changes the result beyond rounding.
    """

    images: int = 8
    size: int = 128
    crop: int = 64
    crop_share: float = 0.5
    accumulate: int = 1
    checkpoint: bool = False

    def __post_init__(self) -> None:
        for name in ("images", "size", "accumulate"):
            require(f"batch.{name}", getattr(self, name), at_least=1)
        require("batch.crop", self.crop, at_least=1, at_most=self.size)
        require("batch.crop_share", self.crop_share, at_least=0, at_most=1)


@dataclass(frozen=True)
class Augment:
    """Random changes of an image; a range of one value switches a change off.

    scale, crop_scale: pixels of the training grid per stored pixel, full images and crops. shift, crop_shift: in units
    of the output's side. rotation: degrees, to either side. quarter_turns, flip: yes or no. gamma: |u| becomes
    |u|^exp(g) with |g| at most this. gain: range of the logarithm of a factor. bias: standard deviation of the
    logarithm of a smooth field. phase: multiply by a random smooth phase (complex images only). drop_place: share of
    the images whose place is not told to a network with coordinates.
    """

    scale: tuple[float, float] = (0.52, 0.64)
    crop_scale: tuple[float, float] = (0.5, 0.85)
    shift: float = 0.05
    crop_shift: float = 0.5
    rotation: float = 10.0
    quarter_turns: bool = True
    flip: bool = True
    gamma: float = 0.4
    gain: tuple[float, float] = (-0.35, 0.2)
    bias: float = 0.25
    phase: bool = True
    drop_place: float = 0.5

    def __post_init__(self) -> None:
        for name in ("scale", "crop_scale"):
            low, high = getattr(self, name)
            require(f"augment.{name}[0]", low, above=0)
            require(f"augment.{name}[1]", high, at_least=low)
        for name in ("shift", "crop_shift", "rotation", "gamma", "bias"):
            require(f"augment.{name}", getattr(self, name), at_least=0)
        require("augment.gain[1]", self.gain[1], at_least=self.gain[0])
        require("augment.drop_place", self.drop_place, at_least=0, at_most=1)


@dataclass(frozen=True)
class Noise:
    """Noise levels: ln sigma ~ N(mean, std^2) clipped to (min, max), or uniform in ln sigma over (min, max).

    sigma_data: standard deviation of the real components of the training images.
    """

    distribution: Literal["log-normal", "log-uniform"] = "log-normal"
    mean: float = -1.5
    std: float = 1.3
    min: float = 0.005
    max: float = 10.0
    sigma_data: float = 0.25

    def __post_init__(self) -> None:
        require("noise.std", self.std, above=0)
        require("noise.min", self.min, above=0)
        require("noise.max", self.max, above=self.min)
        require("noise.sigma_data", self.sigma_data, above=0)


@dataclass(frozen=True)
class Optimizer:
    """Adam and its learning rate: linear `warmup` (steps), then lr / sqrt(step / decay_from), then linear to 0.

    cooldown: share of the whole, counted from its end, over which the rate falls to 0.
    clip: largest norm of the gradient. precision: of the network alone; "auto" takes what the device computes fast.
    compile: torch.compile, worth its waiting time on CUDA.
    """

    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.99)
    warmup: int = 200
    decay_from: int = 1500
    cooldown: float = 0.25
    clip: float = 1.0
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    compile: bool = False

    def __post_init__(self) -> None:
        for name in ("lr", "clip"):
            require(f"optimizer.{name}", getattr(self, name), above=0)
        for name in ("warmup", "decay_from"):
            require(f"optimizer.{name}", getattr(self, name), at_least=1)
        require("optimizer.cooldown", self.cooldown, at_least=0, at_most=1)


@dataclass(frozen=True)
class Averages:
    """Moving averages of the weights, by relative width (see `invdiff.training.ema`).

    widths: tracked. export: the width that is validated, and exported unless another is asked for.
    every: steps between snapshots, doubled whenever there are more than `keep` of them.
    """

    widths: tuple[float, ...] = (0.05, 0.1)
    export: float = 0.1
    every: int = 64
    keep: int = 24

    def __post_init__(self) -> None:
        for width in self.widths:
            require("averages.widths", width, above=0, at_most=0.25)
        if self.export not in self.widths:
            raise ValueError(f"averages.export must be one of averages.widths {self.widths}, got {self.export}.")
        require("averages.every", self.every, at_least=1)
        require("averages.keep", self.keep, at_least=0)


@dataclass(frozen=True)
class Validation:
    """Denoising of held-out images, beside analytic priors that are fitted on training images once.

    images: at most so many held-out images. sigmas: noise levels. fit: training images for the analytic priors, 0 for
    none of them. components, rank, patch, patches: of `PatchMixturePrior.fit`.
    """

    images: int = 48
    sigmas: tuple[float, ...] = SIGMAS
    fit: int = 200
    components: int = 64
    rank: int = 16
    patch: int = 8
    patches: int = 50_000

    def __post_init__(self) -> None:
        require("validation.images", self.images, at_least=1)
        if not self.sigmas:
            raise ValueError("validation.sigmas must name at least one noise level.")
        for sigma in self.sigmas:
            require("validation.sigmas", sigma, above=0)
        if self.fit == 1:
            raise ValueError("validation.fit must be 0, or at least 2 images.")
        require("validation.fit", self.fit, at_least=0)


@dataclass(frozen=True)
class Config:
    """A training. `name`, `domain` and `card` describe the prior and change nothing of it.

    network: `architecture` and the arguments of that network; its channels follow from `data.channels`.
    card: what a user of the prior should know: data, data_licence, split, limits.
    """

    name: str = "prior"
    domain: str = ""
    network: dict[str, Any] = field(default_factory=lambda: {"architecture": "drunet"})
    data: Data = field(default_factory=Data)
    batch: Batch = field(default_factory=Batch)
    augment: Augment = field(default_factory=Augment)
    noise: Noise = field(default_factory=Noise)
    optimizer: Optimizer = field(default_factory=Optimizer)
    averages: Averages = field(default_factory=Averages)
    validation: Validation = field(default_factory=Validation)
    card: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.augment.phase and self.data.channels == "real":
            raise ValueError('augment.phase makes complex images; set it false, or data.channels = "complex".')

    @property
    def n_channels(self) -> int:
        """Real channels that the network sees."""
        return 2 if self.data.channels == "complex" else 1


DESCRIPTIVE = ("name", "domain", "card")
