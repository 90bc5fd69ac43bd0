"""work(0..count) = work on slices of it, by several threads that take the next slice when they have done one.

For compiled code that releases the interpreter's lock. Threads live as long as the call, so that a process may fork.
"""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch

ALONE = 1 << 20  # steps, of a nanosecond or so, below which a second thread does not pay


def share(work: Callable[[slice], None], count: int, least: int, steps: int) -> None:
    """Do `work` on all of range(count), in slices, by as many threads as torch may use.

    Few steps are left to one thread. Slices are for balance, but no shorter than `least` where there is one for each
    thread without that.
    """
    threads = min(torch.get_num_threads(), count) if steps >= ALONE else 1
    if threads == 1:
        work(slice(0, count))
        return
    size = max(math.ceil(count / (4 * threads)), min(least, math.ceil(count / threads)))
    parts = iter([slice(first, min(first + size, count)) for first in range(0, count, size)])

    def take() -> None:
        for part in parts:  # each goes to whichever thread asks first
            work(part)

    with ThreadPoolExecutor(threads - 1) as pool:
        others = [pool.submit(take) for _ in range(threads - 1)]
        take()
        for other in others:
            other.result()  # raises here what went wrong there
