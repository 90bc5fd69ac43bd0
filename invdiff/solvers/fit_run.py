"""A network fitted to a measurement, between two iterations: what it does in one, and all that the next depends on."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from invdiff.checks import require
from invdiff.random import Noise
from invdiff.shapes import norm
from invdiff.solvers.checkpoint import Identity, check_path, digest, of_operator, read_fit, restore, restore_adam
from invdiff.solvers.problem import Problem
from invdiff.solvers.replicas import Replicas
from invdiff.solvers.stopping import Stop, forgetting


@dataclass(frozen=True)
class Fit:
    """Settings of one fit.

    iterations: of Adam, at most. lr: its rate. lam: weight of the autoencoding term, where z is an image.
    every: iterations between renewals of z, 0 for none. jitter: standard deviation of eta. draws: number of eta_j.
    input_lr: Adam's rate for z itself, 0 to keep it. average: forgetting of the exponential average of x that is
    returned, 1 for x itself; where z is noise, it is at first over the last tenth of the iterations.
    checkpoint: a .safetensors file to keep the fit in; where it is there already, the fit goes on from it.
    warm: such a file of another fit, of the same network and size, whose parameters this one begins with.
    also: what else the renewal of z depends on, to tell one fit from another.
    """

    iterations: int
    lr: float
    lam: float = 0.0
    every: int = 0
    jitter: float = 0.0
    draws: int = 1
    input_lr: float = 0.0
    average: float = 1.0
    checkpoint: str | Path | None = None
    warm: str | Path | None = None
    also: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        require("iterations", self.iterations, at_least=1)
        require("lr", self.lr, above=0)
        require("draws", self.draws, at_least=1)
        require("average", self.average, above=0, at_most=1)
        for name in ("lam", "every", "jitter", "input_lr"):
            require(name, getattr(self, name), at_least=0)
        if self.checkpoint is not None:
            check_path(self.checkpoint)


class Run:
    """A fit between two iterations."""

    def __init__(
        self,
        problem: Problem,
        replicas: Replicas,
        z: Tensor,
        settings: Fit,
        stop: Stop,
        noise: Noise,
        mask: dict[str, Tensor] | None,
    ) -> None:
        self.problem, self.replicas, self.settings, self.stop, self.noise = problem, replicas, settings, stop, noise
        self.z = z.clone().requires_grad_(settings.input_lr > 0)
        self.first, self.output, self.shown = z, z, torch.empty(0)
        self.ended = torch.zeros(len(problem.y), dtype=torch.bool, device=problem.y.device)
        self.all_ended = False
        self.curves: list[tuple[Tensor, Tensor]] = []  # misfit and score of every iteration done
        self.mask = mask or {}
        self._apply_mask()
        self.adam = torch.optim.Adam(list(replicas.parameters.values()), lr=settings.lr, foreach=True)
        if settings.input_lr:
            self.adam.add_param_group({"params": [self.z], "lr": settings.input_lr})

    @property
    def over(self) -> bool:
        """Whether no iteration is left, or the stop rule has ended every sample."""
        return self.all_ended or len(self.curves) == self.settings.iterations

    def iterate(self) -> tuple[Tensor, Tensor]:
        """Gradients, and the judgement of the stop rule: |A x - y| and its score, (B,)."""
        problem, settings, stop = self.problem, self.settings, self.stop
        with torch.enable_grad():
            self.output = self.replicas(_jittered(self.z, settings, self.noise)).mean(1)
            x = problem.image(self.output)
            residual = problem.op(x) - problem.y
            fitted = residual if stop.weights is None else residual * stop.weights
            loss = problem.energy(fitted)
            if settings.lam:
                loss = loss + settings.lam * (self.output - self.z).square().sum()
            self.adam.zero_grad()
            (loss / self.output[0].numel()).backward()
        x, i = x.detach(), len(self.curves)
        from_noise = not settings.lam  # to be forgotten; an image to begin with counts like the others
        forgets = forgetting(settings.average, i) if from_noise else settings.average
        self.shown = torch.lerp(self.shown, x, forgets) if i else x
        judged = self.shown if settings.jitter else x  # the noise on z makes iterates differ, however settled the fit
        score = stop.look(i, judged, residual.detach(), self.shown).masked_fill(self.ended, torch.nan)
        self.ended, self.all_ended = stop.done, bool(stop.done.all())
        self.curves.append((norm(residual.detach()), score))
        return self.curves[-1]

    def update(self) -> None:
        """Adam's step; what is masked stays 0."""
        if not self.all_ended:
            self.adam.step()
            self._apply_mask()

    def identity(self) -> Identity:
        """What tells this fit from others, before its first iteration."""
        settings = asdict(self.settings)
        del settings["checkpoint"]
        settings["warm"] = settings["warm"] and Path(settings["warm"]).name
        return {
            "measurement": digest(self.problem.y),
            "operator": of_operator(self.problem.op),
            "options": digest(settings),
            "stop rule": digest(self.stop),
            "network or mask": digest(self.replicas.parameters, self.mask),
            "seed": digest([generator.initial_seed() for generator in self.noise.generators]),
        }

    def content(self) -> dict[str, Any]:
        """All that the next iteration depends on."""
        return {
            "theta": self.replicas.parameters,
            "adam": self.adam.state_dict()["state"],
            "z": self.z,
            "first": self.first,
            "output": self.output,
            "shown": self.shown,
            "ended": self.ended,
            "stop": self.stop,
            "noise": self.noise.states(),
            "misfit": torch.stack([misfit for misfit, _ in self.curves]),
            "score": torch.stack([score for _, score in self.curves]),
        }

    def resume(self, content: dict[str, Any]) -> None:
        """Go on from `content`.

        Raises:
            ValueError: the first input is another one, as of another prior.
        """
        device = self.z.device
        if float((content["first"].to(device) - self.first).norm()) > 0.01 * float(self.first.norm()):
            raise ValueError(
                f"{self.settings.checkpoint} belongs to another fit: its first input differs, as with another prior or "
                "other options of its refinement. Give the arguments it was begun with, or another file."
            )
        for name, p in self.replicas.parameters.items():
            p.data.copy_(content["theta"][name])
        self.z = self.z.copy_(content["z"]) if self.settings.input_lr else content["z"].to(device)
        self.output, self.shown, self.ended = (content[name].to(device) for name in ("output", "shown", "ended"))
        restore_adam(self.adam, content["adam"])
        restore(self.stop, content["stop"], device)
        self.all_ended = bool(self.stop.done.all())
        self.noise.restore(content["noise"])
        self.curves = list(zip(content["misfit"].to(device), content["score"].to(device), strict=True))

    def begin_with(self, path: str | Path) -> None:
        """Take the parameters of another fit, and the noise that they turn into an image.

        Raises:
            ValueError: of another network or size.
        """
        content, _ = read_fit(path)
        noise_input = not self.settings.lam
        mine, theirs = dict(self.replicas.parameters), content["theta"]
        pairs = {name: [list(t[name].shape) if name in t else None for t in (mine, theirs)] for name in mine}
        pairs |= {"its input": [list(self.z.shape), list(content["z"].shape)]} if noise_input else {}
        other = [name for name, (here, there) in pairs.items() if here != there]
        if other:
            raise ValueError(
                f"{path} cannot be begun with: {other[0]} is of shape {pairs[other[0]][1]} there and of "
                f"{pairs[other[0]][0]} here. Pass the fit of as many scans of this size by this method."
            )
        for name, p in mine.items():
            p.data.copy_(theirs[name])
        if noise_input:
            self.z.data.copy_(content["z"])
        self._apply_mask()

    def _apply_mask(self) -> None:
        for name, mine in self.mask.items():
            self.replicas.parameters[name].data.mul_(mine)


def _jittered(z: Tensor, settings: Fit, noise: Noise) -> Tensor:
    """z + eta_j, (B, draws, channels, h, w)."""
    draws = z[:, None].expand(-1, settings.draws, *z.shape[1:])
    return draws + settings.jitter * noise.like(draws) if settings.jitter else draws
