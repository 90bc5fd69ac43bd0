"""`invdiff doctor`: what this installation can use, and a self-test of about two seconds."""

import argparse
import os
import platform
import time
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version

import torch

from invdiff.data.phantom import head_phantom
from invdiff.metrics import psnr
from invdiff.operators import CartesianMRI, LinearOperator
from invdiff.operators.kernels.backend import PREFERRED, installed
from invdiff.priors.checkpoints import available, load_prior
from invdiff.solve import solve
from invdiff.testing_operator import check_operator

CORE = ("torch", "numpy", "scipy", "scikit-image", "h5py", "sigpy", "numba", "matplotlib", "safetensors")
EXTRAS = {
    "triton": "kernels on CUDA",
    "finufft": "non-Cartesian MRI in 3-D, high accuracy: pip install 'invdiff[nufft]'",
    "pydicom": "DICOM: pip install 'invdiff[io]'",
    "nibabel": "NIfTI: pip install 'invdiff[io]'",
    "ismrmrd": "ISMRMRD headers: pip install 'invdiff[io]'",
    "diffusers": "diffusers schedulers: pip install 'invdiff[diffusers]'",
}
SIDE = 64  # of the self-test's image
EPILOG = """examples:
  invdiff doctor
  invdiff doctor --device cuda
  invdiff doctor --threads 1
"""


def add_command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", common: argparse.ArgumentParser
) -> None:
    parser = commands.add_parser(
        "doctor",
        parents=[common],
        help="say what this installation can use, and test it",
        description="Versions, processor, CUDA, kernels, packaged priors, and a self-test. Exit status 1 if it fails.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print everything; 1 if the self-test fails."""
    for name, value in (*_machine(), *_packages(), *_kernels(), ("priors", ", ".join(available()))):
        print(f"{name:12} {value}")
    failed = [name for name, test in TESTS.items() if not _passes(name, test, options.device)]
    print("all well" if not failed else f"failed: {', '.join(failed)}; please report this with all of the above")
    return 1 if failed else 0


def _machine() -> Iterator[tuple[str, str]]:
    yield (
        "invdiff",
        f"{_version('invdiff') or 'from a checkout'}, Python {platform.python_version()}, {platform.platform()}",
    )
    yield "threads", f"{torch.get_num_threads()} of torch, {os.cpu_count()} processors"
    if not torch.cuda.is_available():
        yield "cuda", "no device" + ("" if torch.version.cuda else " (this is a CPU build of torch)")
    for i in range(torch.cuda.device_count()):
        device = torch.cuda.get_device_properties(i)
        yield f"cuda:{i}", f"{device.name}, {device.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}"


def _packages() -> Iterator[tuple[str, str]]:
    yield "packages", ", ".join(f"{name} {_version(name) or 'MISSING'}" for name in CORE)
    for name, use in EXTRAS.items():
        found = _version(name)
        yield name, found or f"not installed ({use})"


def _kernels() -> Iterator[tuple[str, str]]:
    for device, order in PREFERRED.items():
        usable = [name for name in order if name == "torch" or installed(name)]
        yield f"on {device}", f"{' or '.join(usable)} kernels, whichever an operation has first"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _passes(name: str, test: Callable[[str], str], device: str) -> bool:
    start = time.perf_counter()
    try:
        found = test(device)
    except Exception as error:
        print(f"{'self-test':12} {name}: FAILED, {type(error).__name__}: {error}")
        return False
    print(f"{'self-test':12} {name}: {found} ({time.perf_counter() - start:.1f} s)")
    return True


def _operator(side: int, device: str) -> LinearOperator:
    mask = torch.arange(side) % 2 == 0
    mask[side // 2 - 4 : side // 2 + 4] = True
    return CartesianMRI(mask, shape=(side, side)).to(device)


def _adjoint(device: str) -> str:
    check_operator(_operator(17, device))
    return "the operator and its adjoint agree"


def _reconstruction(device: str) -> str:
    """Two-fold undersampled phantom with the smallest packaged prior; must beat the zero-filled image by 1 dB."""
    x = torch.as_tensor(head_phantom((SIDE, SIDE), seed=0)).to(torch.complex64)[None, None].to(device)
    op = _operator(SIDE, device)
    y = op.simulate(x, 0.01, seed=0)
    prior = load_prior("brain-mri-light")
    prior = prior.to(device) if isinstance(prior, torch.nn.Module) else prior
    found = solve(y, op, prior, "dds", sigma_y=0.01, seed=0, steps=20)
    better, zero_filled = (psnr(x[0, 0].abs().cpu(), image[0, 0].abs().cpu()) for image in (found.x, op.adjoint(y)))
    if not better > zero_filled + 1:
        raise RuntimeError(f"{better:.1f} dB, where the zero-filled image has {zero_filled:.1f} dB.")
    return f"{better:.1f} dB, zero-filled {zero_filled:.1f} dB"


TESTS: dict[str, Callable[[str], str]] = {"adjoint": _adjoint, "reconstruction": _reconstruction}
