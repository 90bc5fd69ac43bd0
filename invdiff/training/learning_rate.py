"""lr_t / lr = min(s / warmup, 1) * max(t / decay_from, 1)^(-1/2) * min((1 - p) / cooldown, 1).

s: steps since the training began, t: steps behind the weights (more, where it began from trained ones), p: share of
the training that is done, by steps where their number is known, by time otherwise.
"""

import math

from invdiff.training.config import Optimizer


def rate(step: int, start: int, done: float, optimizer: Optimizer) -> float:
    """The learning rate of optimiser step `step`, counted from 1, of a training that began after step `start`."""
    warm = min((step - start) / optimizer.warmup, 1.0)
    decay = 1 / math.sqrt(max(step / optimizer.decay_from, 1.0))
    left = max(1 - done, 0.0)
    cool = min(left / optimizer.cooldown, 1.0) if optimizer.cooldown else 1.0
    return optimizer.lr * warm * decay * cool
