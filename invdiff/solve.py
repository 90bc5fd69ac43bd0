"""The front door: look up the method, check everything, find the units, call, return a Result."""

import inspect
import math
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Generator, Tensor

from invdiff.admission import admit, needs_noise, recognise
from invdiff.automatic import choose
from invdiff.checks import nearest, require, require_kind
from invdiff.monitor import Monitor
from invdiff.operators.base import LinearOperator, Operator
from invdiff.operators.weighted import whitened
from invdiff.priors.counted import Counted
from invdiff.priors.mismatch import PriorMismatch, check
from invdiff.priors.prior import Prior
from invdiff.priors.supported import Supported
from invdiff.random import Noise, streams
from invdiff.result import Result, least_scores, statistics
from invdiff.scaling import find_units, in_prior_units
from invdiff.selection import check_select, kept_by_misfit, least_misfit, pick
from invdiff.shapes import norm
from invdiff.solvers import METHODS, Method
from invdiff.solvers.checkpoint import check_run
from invdiff.tuned import Row, lookup
from invdiff.units import Units

RESERVED = ("y", "op", "prior", "sigma_y", "noise", "callback")


@contextmanager
def _own_mode() -> Iterator[None]:
    """Solvers take gradients, and compute in the precision of y, whatever mode the caller is in."""
    with torch.inference_mode(False), torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
        yield


@_own_mode()
def solve(
    y: Tensor,
    op: Operator,
    prior: Prior | None = None,
    method: str | Callable[..., Tensor] = "sitcom",
    *,
    sigma_y: float | Tensor | None = None,
    num_samples: int = 1,
    select: str = "mean",
    seed: int | Generator | None = None,
    scale: str | float | Units = "auto",
    tuned: bool = True,
    budget: float | None = None,
    progress: bool | None = None,
    callback: Callable[[dict[str, Any]], None] | None = None,
    **options: Any,
) -> Result:
    """Reconstruct x from y = A x + noise.

    Args:
        y: (B, *op.shape_out), in physical units; never changed.
        op: the forward operator A.
        prior: a denoiser (see `invdiff.load_prior`); not needed by the baselines.
        method: a key of `METHODS`, or a function of the same form as the solvers there; "auto" for the one of highest
            measured PSNR that fits, see `invdiff.automatic`.
        sigma_y: standard deviation of the noise per real component, in the units of y: a number or (B,). None asks the
            operator to estimate it from y. With more axes, one value for every entry of y, broadcastable to it: y and
            A are divided by it, so that every method minimises |(A x - y) / sigma_y|^2; infinite where an entry of y
            is not to be used.
        num_samples: independent runs per measurement; the result has their mean and standard deviation.
        select: what x is: the "mean" of the samples, or the one of least "misfit" |A x - y|, where runs from different
            starts end in different minima whose mean is none (phase retrieval). Which one that is, is in the status.
        seed: an integer (0 is one), a `torch.Generator`, or None for a fresh one; recorded in the result. Every sample
            has its own stream, so its image does not depend on its batch. The global generator is left alone.
        scale: how physical units become the prior's: "auto" (from the calibration data or the prior's own window), a
            positive number (the physical value of 1 in the prior's units), or a `Units`.
        tuned: take options that were not passed from the table of measured settings (see `invdiff.tuned`), where it has
            a row for this method, kind of operator, kind of prior and noise level; which, is in the status. False: the
            method's own defaults.
        budget: for method="auto", seconds that the run may be expected to take.
        progress: show a bar; None does so on a terminal only.
        callback: receives a dictionary with step, steps, x (physical units), sigma, misfit after every step.
        options: the method's own, see its docstring.

    Returns:
        Result, in physical units.

    Raises:
        ValueError, TypeError: before the first step, with what to change.
        Diverged: an iterate is no longer finite; names the step.

    Warns:
        PriorMismatch: the reconstruction is not of the kind of images that the prior was made for, and the prior no
            clear help with it, or it is not scaled as they are. One that is merely unusual is named in the status.
            Looking costs three evaluations per measurement, for priors with reference statistics, which nfe does not
            count.
    """
    if method != "auto" and budget is not None:
        raise ValueError("budget is for method='auto'; a method that is named takes the time it takes.")
    if isinstance(y, Tensor):
        y = y.detach().resolve_conj().resolve_neg()
    why = ""
    if method == "auto":
        method, why = choose(y, op, prior, sigma_y, budget, num_samples, options)
    chosen, name = _look_up(method)
    resolved = _bind(chosen, name, options)
    require_kind("num_samples", num_samples, int)
    require("num_samples", num_samples, at_least=1)
    check_select(select, num_samples)
    admit(y, op, prior, chosen, name)
    check_run(resolved.get("checkpoint"), seed, 1 if op.batch == 1 else num_samples)
    by_entry = sigma_y if isinstance(sigma_y, Tensor) and sigma_y.ndim > 1 else None
    if by_entry is not None:
        (y, op), sigma_y = whitened(y, op, by_entry), 1.0
        admit(y, op, prior, chosen, name)
    level = _noise_level(y, op, sigma_y, chosen, name)
    units = find_units(y, op, prior if chosen.prior else None, scale)
    row = None
    if tuned and METHODS.get(name) is chosen:
        row = lookup(name, op, prior if chosen.prior else None, None if level is None else level / units.scale)
    found = {} if row is None else {k: v for k, v in row.options.items() if k in resolved and k not in options}
    resolved |= found
    if prior is not None and chosen.prior:
        recognise(y, op, prior, units)
    noise, number = streams(seed, len(y), num_samples, y.device)
    counted = None if prior is None else Counted(prior if op.support is None else Supported(prior, op.support))
    monitor = Monitor(name, units, progress, callback)
    begin = time.perf_counter()
    with torch.no_grad(), monitor:
        groups = _groups(y, op, units, level, noise, num_samples)
        outputs = [_run(chosen, group, op, counted, monitor, resolved) for group in groups]
        x = torch.cat([out.reshape(len(y), -1, *op.shape_in) for out in outputs], 1)
        samples = units.repeat(num_samples).to_physical(x.flatten(0, 1)).unflatten(0, (len(y), num_samples))
        monitor.finish(samples)
    kept = least_misfit(samples, y, op) if select == "misfit" else None
    strange = _strange(prior, x[:, 0] if kept is None else pick(x, kept)) if chosen.prior else ""
    mean, std = statistics(samples)
    image = mean if kept is None else pick(samples, kept)
    skipped = counted.skipped // len(groups) if counted else 0
    score = monitor.score(len(y))
    return Result(
        x=image,
        samples=samples,
        mean=mean,
        std=std,
        method=name,
        options=resolved,
        nfe=counted.nfe // len(groups) if counted else 0,
        vjps=counted.vjps // len(groups) if counted else 0,
        seconds=time.perf_counter() - begin,
        misfit=monitor.misfit(len(y)),
        chi2=_chi2(image, y, op, level),
        sigma_y=level if by_entry is None else by_entry,
        units=units,
        seed=number,
        status=f"finished after {monitor.steps} steps"
        + _passed(skipped)
        + _taken(score)
        + kept_by_misfit(kept)
        + _unseen(op)
        + strange
        + _settled(found, row)
        + why,
        reference=chosen.reference,
        skipped=skipped,
        score=score,
        last=_last(monitor, units, len(y), num_samples),
    )


def _look_up(method: str | Callable[..., Tensor]) -> tuple[Method, str]:
    if callable(method):
        takes_prior = "prior" in inspect.signature(method).parameters
        _check_form(method)
        doc = (inspect.getdoc(method) or "a user's solver").splitlines()[0]
        needs = takes_prior and inspect.signature(method).parameters["prior"].default is inspect.Parameter.empty
        return Method(method, doc, prior=needs), getattr(method, "__name__", "custom")
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}.{nearest(str(method), [*METHODS, 'auto'])}")
    return METHODS[method], method


def _check_form(solver: Callable[..., Tensor]) -> None:
    """Refuse a function that cannot be called as `_run` does."""
    form = inspect.signature(solver)
    try:
        form.bind_partial(None, None, None, noise=None, callback=None)
    except TypeError as error:
        raise TypeError(
            "a method of your own is called as solver(y, op, prior, noise=..., callback=..., and its options); "
            f"{getattr(solver, '__name__', solver)}{form} is not of this form: {error}."
        ) from error


def _bind(method: Method, name: str, options: dict[str, Any]) -> dict[str, Any]:
    """All options of the method with their values; refuses names it does not have."""
    parameters = inspect.signature(method.function).parameters
    own = {k: p.default for k, p in parameters.items() if p.kind is p.KEYWORD_ONLY and k not in RESERVED}
    for option in options:
        if option not in own:
            raise TypeError(f"{name} has no option {option!r}.{nearest(option, own)}")
    resolved = own | options
    missing = [k for k, v in resolved.items() if v is inspect.Parameter.empty]
    if missing:
        raise TypeError(f"{name} needs a value for {', '.join(missing)}.")
    for option, value in options.items():
        require_kind(option, value, parameters[option].annotation)
    return resolved


def _noise_level(y: Tensor, op: Operator, sigma_y: float | Tensor | None, method: Method, name: str) -> Tensor | None:
    """sigma_y as (B,), given or estimated; None only where the method can do without."""
    if sigma_y is not None:
        level = torch.as_tensor(sigma_y, dtype=y.dtype.to_real(), device=y.device)
        if level.ndim > 1 or (level.ndim == 1 and len(level) != len(y)):
            raise ValueError(f"sigma_y must be a number or one value per item, ({len(y)},); got {tuple(level.shape)}.")
        if not bool(torch.isfinite(level).all() and (level >= 0).all()):
            raise ValueError(f"sigma_y must be finite and 0 or more, got {sigma_y}.")
        return level.expand(len(y)).clone()
    estimate = op.estimate_sigma(y)
    if estimate is None and needs_noise(method):
        raise ValueError(
            f"{name} needs sigma_y, the noise standard deviation per real component in the units of y, "
            f"and {op.name} cannot estimate it. Pass sigma_y=..."
        )
    return estimate


Group = tuple[Tensor, Tensor | None, Noise, Units]


def _groups(y: Tensor, op: Operator, units: Units, level: Tensor | None, noise: Noise, samples: int) -> list[Group]:
    """All samples in one batch; one run per sample where the operator holds tensors of each item."""
    y, level = in_prior_units(y, level, op, units)
    if op.batch == 1 or samples == 1:
        repeated = None if level is None else level.repeat_interleave(samples)
        return [(y.repeat_interleave(samples, 0), repeated, noise, units.repeat(samples))]
    return [(y, level, noise.every(samples, j), units) for j in range(samples)]


def _run(
    method: Method, group: Group, op: Operator, prior: Counted | None, monitor: Monitor, options: dict[str, Any]
) -> Tensor:
    y, level, noise, units = group
    arguments = {"noise": noise, "callback": monitor.watch(units)}
    if "sigma_y" in inspect.signature(method.function).parameters:
        arguments["sigma_y"] = level
    seen = op if isinstance(op, LinearOperator) else op.affine(units.scale, units.offset)
    x = method.function(y, seen, prior, **arguments, **options)
    wanted = (len(y), *op.shape_in)
    if not isinstance(x, Tensor) or x.numel() != math.prod(wanted):
        came = f"{tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
        raise TypeError(f"{monitor.name} must return a tensor of images {wanted}, got {came}.")
    return x


def _last(monitor: Monitor, units: Units, batch: int, samples: int) -> Tensor | None:
    """Where a method with a stop rule ended, in physical units, (B, S, C, H, W)."""
    x = monitor.last(batch)
    return None if x is None else units.repeat(samples).to_physical(x.flatten(0, 1)).unflatten(0, (batch, samples))


def _taken(score: Tensor) -> str:
    """Which iterates a stop rule took, (steps, B, S)."""
    if not len(score):
        return ""
    taken = [f"{i}" for i in least_scores(score).flatten().tolist()]
    listed = ", ".join(taken[:4]) + (", ..." if len(taken) > 4 else "")
    return f"; the image of iteration {listed} is taken" if len(taken) == 1 else f"; iterations {listed} are taken"


def _passed(skipped: int) -> str:
    return f"; {skipped} more noise levels passed in closed form, without evaluations" if skipped else ""


def _strange(prior: Any, x: Tensor) -> str:
    """What the prior, where it knows its own images, says of the reconstruction, (B, C, H, W) in its units."""
    if getattr(prior, "reference_statistics", None) is None:
        return ""
    report = check(prior, x)
    if not report.ok:
        warnings.warn(report.sentence, PriorMismatch, stacklevel=4)  # of the caller of solve
    return f"; {report.sentence}" if report.sentence else ""


def _settled(found: dict[str, Any], row: Row | None) -> str:
    """Which options came from the table."""
    if row is None or not found:
        return ""
    listed = ", ".join(f"{name}={value}" for name, value in found.items())
    gain = f"{row.score - row.baseline:+.1f} dB in {row.relative_time:g} of the time"
    return f"; {listed}: as tuned for {row.family} ({gain})"


def _unseen(op: Operator) -> str:
    if op.support is None:
        return ""
    return f"; {float((~op.support).double().mean()):.1%} of the pixels are zero because no measurement sees them"


def _chi2(x: Tensor, y: Tensor, op: Operator, level: Tensor | None) -> Tensor | None:
    if level is None or not bool((level > 0).all()):
        return None
    with torch.no_grad():
        out: Tensor = norm(op(x) - y) ** 2 / (op.measured(y.is_complex()) * level**2)
    return out
