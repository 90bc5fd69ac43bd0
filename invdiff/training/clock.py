"""done = share of a training behind it: by steps where their number is known, by time otherwise."""

import time

from invdiff.training.distributed import World


class Clock:
    """When a training is over, the same on all processes.

    Args:
        start: steps before the training began. steps: of the training in all sessions, or None.
        max_seconds: of this session, or None.

    Attributes:
        seconds: of this session, as all processes agreed at the last tick.
    """

    def __init__(self, world: World, start: int, steps: int | None, max_seconds: float | None) -> None:
        self.world, self.start, self.steps, self.max_seconds = world, start, steps, max_seconds
        self._begin = time.monotonic()
        self.seconds, self._signalled = 0.0, False

    def tick(self, loss: float, signal: int) -> float:
        """After a step: agree on the time and on whether a signal came; the loss of the whole batch."""
        now = time.monotonic() - self._begin
        loss, seconds, signals = self.world.sum(loss, now, float(signal > 0))
        self.seconds, self._signalled = seconds / self.world.size, signals > 0
        return loss

    def done(self, step: int) -> float:
        """Share of the training that is done before `step`, in [0, 1]."""
        if self.steps is not None:
            return min((step - 1 - self.start) / max(self.steps, 1), 1.0)
        return min(self.seconds / self.max_seconds, 1.0) if self.max_seconds else 0.0

    def over(self, step: int) -> str:
        """Why there is no step after `step`: "steps", "time", "signal", or "" where there is one."""
        if self.steps is not None and step - self.start >= self.steps:
            return "steps"
        if self._signalled:
            return "signal"
        return "time" if self.max_seconds is not None and self.seconds >= self.max_seconds else ""
