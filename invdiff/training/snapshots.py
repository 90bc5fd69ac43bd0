"""Averages along a training, in half precision, for `invdiff.training.posthoc`: a bounded number of files.

Kept are the multiples of an interval that doubles whenever there are too many, so which files there are is a function
of the step alone, and a training resumed from an earlier state finds what it needs.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

from invdiff.files import write_whole
from invdiff.training.ema import PowerEMA
from invdiff.training.posthoc import Member, rebuild


class Snapshots:
    """The files STEP.safetensors of a folder.

    Args:
        folder: made when the first file is.
        every: steps between snapshots at first. keep: the most there are; 0 for none.
    """

    def __init__(self, folder: Path, every: int, keep: int) -> None:
        self.folder, self.every, self.keep = folder, every, keep

    def interval(self, step: int) -> int:
        """Steps between the snapshots kept at `step`."""
        interval = self.every
        while step // interval > self.keep:
            interval *= 2
        return interval

    def due(self, step: int) -> bool:
        """Whether there is a snapshot of `step`."""
        return self.keep > 0 and step % self.interval(step) == 0

    def write(self, step: int, averages: Sequence[PowerEMA]) -> None:
        """Write the averages of `step`."""
        self.folder.mkdir(exist_ok=True)
        tensors = {
            _key(average.width, name): value.half().contiguous().cpu()
            for average in averages
            for name, value in average.net.named_parameters()
        }
        write_whole(self._path(step), lambda path: save_file(tensors, path))

    def thin(self, step: int) -> None:
        """Remove what is not kept at `step`; to be called once a state of that step is safe on disk."""
        for found in self.steps():
            if found > step or found % self.interval(step):
                self._path(found).unlink()

    def steps(self) -> list[int]:
        """Of the files there are."""
        return sorted(int(path.stem) for path in self.folder.glob("*.safetensors") if path.stem.isdigit())

    def average(self, step: int, width: float, current: Mapping[float, Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """Parameters of the average of any width up to `step`.

        Args:
            current: parameters of the tracked averages at `step`, by width.

        Raises:
            ValueError: what is stored does not determine that average.
        """
        if width in current:
            return {name: value.float() for name, value in current[width].items()}
        earlier = [s for s in self.steps() if s < step]
        members = [Member(s, w) for s in (*earlier, step) for w in current]
        return rebuild(members, self._tensors(earlier, current), step, width)

    def _tensors(
        self, steps: Sequence[int], current: Mapping[float, Mapping[str, Tensor]]
    ) -> Iterator[Mapping[str, Tensor]]:
        for step in steps:
            stored = load_file(self._path(step))
            for width, tensors in current.items():
                yield {name: stored[_key(width, name)] for name in tensors}
        yield from current.values()

    def _path(self, step: int) -> Path:
        return self.folder / f"{step:08d}.safetensors"


def _key(width: float, name: str) -> str:
    return f"{width:g}/{name}"
