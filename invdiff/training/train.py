"""Train a denoiser F under EDM preconditioning on magnitude slices with random smooth phase.

    loss = E lambda(sigma) |D(x0 + sigma n; sigma) - x0|^2,   ln sigma ~ N(p_mean, p_std^2)

Source: Karras et al., 2022, equation 108 and Table 1.
Differs: sigma is stratified over the batch; half of the steps see small crops, so that few slices go far; the
learning rate falls with the inverse square root of the step, so that stopping at any time is fair.
"""

import dataclasses
import json
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn

from invdiff.diffusion.precondition import edm, edm_weight
from invdiff.networks import build
from invdiff.training.augment import complex_channels, contrast, geometry, smooth_phase
from invdiff.training.ema import PowerEMA
from invdiff.training.slices import Slices, draw, read_slices

SIGMAS = (0.05, 0.1, 0.2, 0.4, 0.6, 1.2)  # validation noise levels, standard deviation per real component


@dataclass(frozen=True)
class Config:
    """What a training run is; stored in its checkpoint and in the prior made from it."""

    network: dict[str, Any]
    size: int = 128
    crop: int = 64
    batch: int = 8
    scale: tuple[float, float] = (0.52, 0.64)  # pixels of the training grid per stored pixel, full images
    crop_scale: tuple[float, float] = (0.5, 0.85)
    sigma_data: float = 0.25
    p_mean: float = -1.5
    p_std: float = 1.3
    sigma_min: float = 0.005
    sigma_max: float = 10.0
    lr: float = 1e-3
    warmup: int = 200
    decay_from: int = 1500
    clip: float = 1.0
    seed: int = 0


def train(
    data: str | Path,
    state: str | Path,
    config: Config,
    *,
    max_seconds: float = math.inf,
    max_steps: int | None = None,
    report_every: float = 600.0,
    on_report: Callable[[dict[str, Any]], None] | None = None,
) -> PowerEMA:
    """Train until `max_seconds` or `max_steps`, resuming from the file `state` where it exists.

    Args:
        data: HDF5 file with train/images and val/images, (N, H, W), any real dtype.
        state: checkpoint, rewritten whole at every report and at the end; a JSON-lines log grows beside it.
        report_every: seconds between reports (validation, log line, checkpoint).
        on_report: receives each report.

    Returns:
        The averaged network (`.net`); the state file holds everything needed to go on.

    Raises:
        ValueError: the checkpoint was made with another configuration.
    """
    slices, held_out = read_slices(data, "train"), read_slices(data, "val")
    run = _Run(config, Path(state))
    start = last = time.monotonic()
    for loss in run.steps(slices, max_steps):
        now = time.monotonic()
        stop = now - start > max_seconds
        if stop or now - last > report_every:
            report = run.report(held_out, loss, now - start)
            if on_report:
                on_report(report)
            last = time.monotonic()
        if stop:
            break
    run.save()
    return run.ema


class _Run:
    """The state of a training run: network, average, optimiser, generator, step."""

    def __init__(self, config: Config, path: Path) -> None:
        self.config, self.path, self.step, self.skipped = config, path, 0, 0
        torch_seed = Generator().manual_seed(config.seed)
        with torch.random.fork_rng():
            torch.manual_seed(config.seed)
            self.net = build("drunet", config.network).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.ema = PowerEMA(self.net)
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=config.lr, betas=(0.9, 0.99))
        self.generator = torch_seed
        if path.exists():
            self._load()

    def steps(self, slices: Slices, max_steps: int | None) -> Iterator[float]:
        """Run optimiser steps, yielding each step's loss."""
        while max_steps is None or self.step < max_steps:
            self.step += 1
            for group in self.optimizer.param_groups:
                group["lr"] = self.config.lr * _schedule(self.step, self.config)
            loss = self._loss(make_batch(slices, self.config, self.step, self.generator))
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            norm = nn.utils.clip_grad_norm_(self.net.parameters(), self.config.clip)
            if bool(torch.isfinite(norm)):
                self.optimizer.step()
                self.ema.update(self.net, self.step)
            else:
                self.skipped += 1
            yield float(loss.detach())

    def _loss(self, x0: Tensor) -> Tensor:
        config = self.config
        strata = (torch.arange(len(x0)) + torch.rand(len(x0), generator=self.generator)) / len(x0)
        normal = torch.erfinv((2 * strata - 1).clamp(-0.999999, 0.999999)) * math.sqrt(2)
        sigma = torch.exp(config.p_mean + config.p_std * normal).clamp(config.sigma_min, config.sigma_max)
        noise = torch.randn(x0.shape, generator=self.generator)
        error = denoise(self.net, x0 + sigma[:, None, None, None] * noise, sigma, config.sigma_data) - x0
        return (edm_weight(sigma, config.sigma_data) * error.square().mean((1, 2, 3))).mean()

    def report(self, held_out: Slices, loss: float, seconds: float) -> dict[str, Any]:
        """Validate the average, append a line to the log, write the checkpoint."""
        psnr = validate(self.ema.net, held_out, self.config)
        report = {"step": self.step, "seconds": round(seconds), "loss": loss, "skipped": self.skipped, "psnr": psnr}
        with self.path.with_suffix(".jsonl").open("a") as log:
            log.write(json.dumps(report) + "\n")
        self.save()
        return report

    def save(self) -> None:
        """Write the checkpoint whole or not at all."""
        content = {
            "config": dataclasses.asdict(self.config),
            "step": self.step,
            "net": self.net.state_dict(),
            "ema": self.ema.net.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
        }
        temporary = self.path.with_suffix(".partial")
        torch.save(content, temporary)
        os.replace(temporary, self.path)

    def _load(self) -> None:
        content = torch.load(self.path, weights_only=True)
        if json.dumps(content["config"]) != json.dumps(dataclasses.asdict(self.config)):
            raise ValueError(
                f"{self.path} was trained with another configuration; start a new state file, or pass the same one."
                f" Stored: {content['config']}"
            )
        self.net.load_state_dict(content["net"])
        self.ema.net.load_state_dict(content["ema"])
        self.optimizer.load_state_dict(content["optimizer"])
        self.generator.set_state(content["generator"])
        self.step = content["step"]


def denoise(net: nn.Module, x: Tensor, sigma: Tensor, sigma_data: float) -> Tensor:
    """D(x; sigma) of a preconditioned network; x (B, C, H, W), sigma (B,)."""
    c = edm(sigma[:, None, None, None], sigma_data)
    out: Tensor = c.c_skip * x + c.c_out * net(c.c_in * x, c.c_noise.flatten())
    return out


def make_batch(slices: Slices, config: Config, step: int, generator: Generator) -> Tensor:
    """Training images of one step, (n, 2, s, s): full images on odd steps, four times as many crops on even ones."""
    full = step % 2 == 1 or config.crop >= config.size
    count = config.batch if full else config.batch * (config.size // config.crop) ** 2
    size, scale, shift = (config.size, config.scale, 0.05) if full else (config.crop, config.crop_scale, 0.5)
    x = geometry(draw(slices, count, generator), size, scale, generator, shift)
    x = contrast(x, generator)
    return complex_channels(x, smooth_phase(x.shape, generator)).contiguous(memory_format=torch.channels_last)


def validation_images(held_out: Slices, size: int, count: int = 48, seed: int = 1) -> Tensor:
    """Fixed complex validation images as two channels, (count, 2, size, size): area-averaged, fixed smooth phase."""
    index = torch.linspace(0, len(held_out) - 1, min(count, len(held_out))).round().long()
    x = nn.functional.interpolate(held_out.take(index), size=(size, size), mode="area")
    return complex_channels(x, smooth_phase(x.shape, Generator().manual_seed(seed)))


@torch.no_grad()
def validate(net: nn.Module, held_out: Slices, config: Config) -> dict[str, float]:
    """Denoising PSNR in dB (data range 2, per real component) at each of SIGMAS, mean over the validation images."""
    images = validation_images(held_out, config.size)
    noise = torch.randn(images.shape, generator=Generator().manual_seed(2))
    table = {}
    for sigma in SIGMAS:
        level = torch.full((1,), sigma)
        errors = [
            (denoise(net, (x + sigma * n)[None], level, config.sigma_data) - x).square().mean()
            for x, n in zip(images, noise, strict=True)
        ]
        table[str(sigma)] = float((10 * torch.log10(4 / torch.stack(errors))).mean())
    return table


def _schedule(step: int, config: Config) -> float:
    return min(step / config.warmup, 1.0) / math.sqrt(max(step / config.decay_from, 1.0))
