"""theta <- theta - lr Adam(clip(grad loss)): the weights of a training, their averages, one step of the optimiser."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from invdiff.priors.execution import set_checkpointing
from invdiff.priors.weights import fill
from invdiff.training.batches import Part
from invdiff.training.config import Config
from invdiff.training.distributed import World
from invdiff.training.ema import PowerEMA
from invdiff.training.initial import Initial
from invdiff.training.learning_rate import rate
from invdiff.training.loss import part_loss, wants_place
from invdiff.training.network import make_network
from invdiff.training.precision import choose

MOST_SKIPPED = 100  # steps in a row without a finite gradient, after which something is wrong


class Run:
    """What a training has learned so far.

    Args:
        initial: weights to begin from; random ones, drawn from the seed, without.

    Attributes:
        net: with the current weights. averages: one for each of `config.averages.widths`.
        step: optimiser steps behind the weights. start: those of them before this training began.
        images: seen. skipped: steps without a finite gradient; stuck: those of them in a row just now.
    """

    def __init__(self, config: Config, seed: int, world: World, initial: Initial | None = None) -> None:
        net = make_network(config, seed)
        if initial is not None:
            fill(net, initial.tensors, initial.source)
        self.config, self.world = config, world
        self.net: nn.Module = net.to(world.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        if config.batch.checkpoint:
            set_checkpointing(self.net, True)
        self.averages = [PowerEMA(self.net, width) for width in config.averages.widths]
        wrapped = world.wrap(self.net)
        self._wrapped: Any = torch.compile(wrapped, dynamic=False) if config.optimizer.compile else wrapped
        optimizer = config.optimizer
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=optimizer.lr, betas=optimizer.betas)
        self.precision = choose(optimizer.precision, world.device)
        self.scaler = self.precision.scaler()
        self.step = self.start = initial.step if initial else 0
        self.images = self.skipped = self.stuck = 0

    @property
    def average(self) -> PowerEMA:
        """The average that is validated and exported."""
        return next(a for a in self.averages if a.width == self.config.averages.export)

    def advance(self, parts: Sequence[Part], done: float) -> float:
        """One optimiser step on this process's parts of a batch; its share of the loss.

        Args:
            done: share of the training that is done, for the learning rate.

        Raises:
            RuntimeError: no finite gradient for many steps.
        """
        self.step += 1
        loss = self._gradient(parts)
        for group in self.optimizer.param_groups:
            group["lr"] = rate(self.step, self.start, done, self.config.optimizer)
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.net.parameters(), self.config.optimizer.clip)
        self._count(bool(torch.isfinite(norm)))
        if self.stuck == 0:
            self.scaler.step(self.optimizer)
        self.scaler.update()
        for average in self.averages:
            average.update(self.net, self.step)
        self.images += parts[0].draw.count
        return loss

    def _gradient(self, parts: Sequence[Part]) -> float:
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.world.device)
        for i, part in enumerate(parts):
            with self.world.accumulating(self._wrapped, i == len(parts) - 1):
                loss = part_loss(
                    self._wrapped, part, self.config.noise, self.precision, with_place=wants_place(self.net)
                )
                self.scaler.scale(loss * self.world.size).backward()  # gradients are averaged over processes
            total += loss.detach()
        return float(total)

    def _count(self, finite: bool) -> None:
        self.stuck = 0 if finite else self.stuck + 1
        self.skipped += not finite
        if self.stuck > MOST_SKIPPED:
            raise RuntimeError(
                f"no finite gradient for {self.stuck} steps, up to step {self.step}; lower optimizer.lr, or set "
                'optimizer.precision = "fp32". The last saved state is sound.'
            )

    def content(self) -> dict[str, Any]:
        """What a state file holds of it."""
        others = {str(a.width): a.net.state_dict() for a in self.averages if a is not self.average}
        return {
            "step": self.step,
            "start": self.start,
            "images": self.images,
            "skipped": self.skipped,
            "stuck": self.stuck,
            "net": self.net.state_dict(),
            "ema": self.average.net.state_dict(),
            "averages": others,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
        }

    def load(self, content: dict[str, Any]) -> None:
        """Take over what `content` gave; nothing of an empty one."""
        if not content:
            return
        self.net.load_state_dict(content["net"])
        for average in self.averages:
            stored = content["ema"] if average is self.average else content["averages"][str(average.width)]
            average.net.load_state_dict(stored)
        self.optimizer.load_state_dict(content["optimizer"])
        if content["scaler"]:
            self.scaler.load_state_dict(content["scaler"])
        for name in ("step", "start", "images", "skipped", "stuck"):
            setattr(self, name, content[name])
