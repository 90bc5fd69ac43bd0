"""Images of another kind are told from a prior's own: by numbers on exact priors, and on measured data."""

import json
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from invdiff.networks.drunet import DRUNet
from invdiff.priors.adapted import AdaptedPrior
from invdiff.priors.analytic import AnalyticPrior
from invdiff.priors.checkpoints import load_prior, save_prior
from invdiff.priors.counted import Counted
from invdiff.priors.hybrid import HybridPrior
from invdiff.priors.mismatch import (
    UNUSUAL,
    WORTH,
    Checkable,
    Report,
    check,
    reference_statistics,
    spread,
)
from invdiff.priors.network import NetworkPrior
from invdiff.priors.patch_mixture import PatchMixturePrior
from invdiff.priors.record import record
from invdiff.priors.tiled import TiledPrior
from invdiff.priors.yardstick import shrinkage
from tests.priors.models import normal, stationary
from tests.priors.test_patch_mixture import phased, shapes
from tests.test_testing_prior import FAULTS, Faulty


@pytest.fixture(scope="module", params=[False, True], ids=["real", "complex"])
def prior(request: pytest.FixtureRequest) -> PatchMixturePrior:
    """Knows discs, and that it does."""
    fitted = PatchMixturePrior.fit(shapes(40), components=8, rank=8, patches=6000, iterations=10)
    fitted = fitted.describe(domain="discs", sigma_min=0.01)
    known = fitted.as_complex() if request.param else fitted
    known.reference_statistics = reference_statistics(known, own(known, 40, 1))
    return known


def own(prior: PatchMixturePrior, n: int, seed: int) -> Tensor:
    return phased(shapes(n, seed=seed)) if prior.complex else shapes(n, seed=seed)


def foreign(prior: PatchMixturePrior) -> dict[str, Tensor]:
    """Textures, of about the brightness of the prior's own images."""
    y, x = torch.meshgrid(torch.arange(40), torch.arange(37), indexing="ij")
    board = 0.5 * ((y // 2 + x // 2) % 2)[None, None].float()
    waves = 0.25 * (1 + torch.sin(1.3 * x + 0.6 * y))[None, None]
    speckle = 0.15 * normal(1, 1, 40, 37).float() + 0.3
    images = {"board": board, "waves": waves, "speckle": speckle}
    return {name: phased(v) if prior.complex else v for name, v in images.items()}


def test_own_images_fit(prior: PatchMixturePrior) -> None:
    report = prior.check(own(prior, 40, 2))
    assert report.verdicts.count("mismatch") == 0
    assert report.verdicts.count("fits") >= 36
    assert report.ok
    assert prior.check(own(prior, 1, 2)).sentence == ""


@pytest.mark.parametrize("kind", ["board", "waves", "speckle"])
def test_foreign_images_do_not(prior: PatchMixturePrior, kind: str) -> None:
    report = prior.check(foreign(prior)[kind])
    assert report.verdicts == ["mismatch"]
    assert not report.ok
    assert report.sentence.startswith("the image is not what the prior knows (discs)")
    assert "prefer tv or wavelet" in report.sentence
    assert float(report.best) < WORTH


@pytest.mark.parametrize("factor", [10.0, 0.03])
def test_a_wrong_scale_is_named(prior: PatchMixturePrior, factor: float) -> None:
    report = prior.check(factor * own(prior, 2, 3))
    assert report.verdicts == ["mismatch", "mismatch"]
    assert "check the scale" in report.sentence


def test_a_scale_from_rough_images_is_no_wrong_one(prior: PatchMixturePrior) -> None:
    """`solve` scales by a blurred image, whose brightest pixels are dimmer: results are up to twice as bright."""
    assert "check the scale" not in prior.check(1.9 * own(prior, 10, 3)).sentence


def test_several_images_are_judged_apart(prior: PatchMixturePrior) -> None:
    images = torch.cat([own(prior, 2, 4), foreign(prior)["board"]])
    report = prior.check(images)
    assert report.verdicts[2] == "mismatch"
    assert "mismatch" not in report.verdicts[:2]
    assert report.sentence.startswith("1 of 3 images")
    alone = prior.check(images[2:])
    assert_close(report.gain[:, 2:], alone.gain, rtol=1e-4, atol=1e-3)


def falling_short(prior: PatchMixturePrior, images: Tensor, best: float, shortfall: float) -> Report:
    """The report on images, (1, C, H, W), if they gained so much and their mean that much less than the prior's own."""
    report = prior.check(images)
    report = replace(report, gain=report.gain - report.best + best)
    mean = float(report.gain.mean())
    known = replace(prior.reference_statistics, gain=(mean + shortfall - 1, mean + shortfall, mean + shortfall + 1))
    return replace(report, reference=known)


def test_an_unusual_image_is_a_mismatch_where_the_prior_is_no_help(prior: PatchMixturePrior) -> None:
    images = own(prior, 1, 2)
    short, enough = UNUSUAL + 0.1, WORTH + 0.1
    unusual = falling_short(prior, images, enough, short)
    assert_close(unusual.shortfall, torch.tensor([short]), rtol=1e-4, atol=0, check_dtype=False)
    assert unusual.verdicts == ["unusual"]
    assert unusual.ok
    assert unusual.sentence.startswith("the image is unusual for the prior (discs), which may still help: it denoises")
    assert "prefer" not in unusual.sentence
    assert falling_short(prior, images, enough - 0.2, short).verdicts == ["mismatch"]
    own_kind = falling_short(prior, images, enough - 0.2, short - 0.2)  # a prior that is no great help with its own
    assert own_kind.verdicts == ["fits"]
    assert replace(own_kind, gain=own_kind.gain * torch.nan).verdicts == ["mismatch"]
    assert own_kind.sentence == ""


def test_the_best_level_counts(prior: PatchMixturePrior) -> None:
    report = prior.check(own(prior, 3, 2))
    assert_close(report.best, report.gain.max(0).values)
    assert report.gain.shape == (3, 3)


def test_an_exact_prior_gains_and_splits_the_noise_at_right_angles() -> None:
    gauss = stationary((1, 24, 24), torch.float64)
    report = gauss.check(gauss.sample(8, 0))
    assert report.reference is None
    assert_close((report.error**2 + report.moved**2).mean(1), torch.ones(5, dtype=torch.float64), rtol=0.1, atol=0)
    assert bool((report.gain.mean(1) > 0)[1:].all())
    assert report.verdicts == ["fits"] * 8


@pytest.mark.parametrize(
    "name", ["wrong sign", "score instead of denoiser", "noise instead of denoiser", "a constant offset", "identity"]
)
def test_a_network_wrapped_wrongly_is_faulty(name: str) -> None:
    faulty = Faulty(FAULTS[name][0])
    report = check(faulty, faulty.sample(4, 0))
    assert "faulty" in report.verdicts
    assert not report.ok
    assert "wrong sign, noise level or range" in report.sentence
    with pytest.raises(ValueError, match="not images that the prior denoises"):
        reference_statistics(faulty, faulty.sample(20, 0))
    right = Faulty(lambda good, x, s: good(x, s))
    assert check(right, right.sample(4, 0)).ok


def test_the_yardstick_denoises_and_knows_nothing() -> None:
    x0 = shapes(2)
    x = x0 + 0.1 * normal(2, 1, 40, 37).float()
    out = shrinkage(x, 0.1)
    assert float((out - x0).norm()) < 0.6 * float((x - x0).norm())
    assert_close(shrinkage(3 * x, 0.3), 3 * out)  # no scale of its own
    assert_close(shrinkage(x + 1, 0.1), out + 1)
    assert_close(shrinkage(x, torch.tensor([0.1, 0.2]))[:1], out[:1])
    turned = shrinkage(x * 1j, 0.1)
    assert_close(turned, shrinkage(x + 0j, 0.1) * 1j)


def test_spread_is_per_real_component() -> None:
    assert_close(spread(normal(2, 1, 200, 200)), torch.ones(2, dtype=torch.float64), rtol=0.02, atol=0)
    z = normal(2, 1, 200, 200, dtype=torch.complex128)
    assert_close(spread(z + 5), torch.ones(2, dtype=torch.float64), rtol=0.02, atol=0)


def test_every_prior_can_be_asked() -> None:
    for kind in (AnalyticPrior, NetworkPrior, AdaptedPrior, HybridPrior, TiledPrior):
        assert issubclass(kind, Checkable)


def test_statistics_travel_with_the_prior(prior: PatchMixturePrior, tmp_path: Path) -> None:
    path = tmp_path / "discs.safetensors"
    prior.save(path)
    loaded = load_prior(path)
    assert loaded.reference_statistics == prior.reference_statistics
    assert TiledPrior(loaded, 24).reference_statistics == prior.reference_statistics
    assert Counted(loaded).check(own(prior, 1, 2)).ok
    again = record(path, own(prior, 20, 6))
    assert again.images == 20
    assert load_prior(path).reference_statistics == again
    assert AnalyticPrior.reference_statistics is None


def test_networks_keep_theirs(tmp_path: Path) -> None:
    config = {"in_channels": 1, "out_channels": 1, "widths": [4, 8], "blocks": 1, "embedding": 8}
    prior = NetworkPrior(DRUNet(**config), sigma_data=0.3)  # its output is 0: D is a Wiener filter of white images
    images = 0.3 * normal(20, 1, 16, 16).float()
    path = tmp_path / "white.safetensors"
    save_prior(prior, "drunet", config, path, {"data": "none"})
    assert "reference_statistics" not in json.loads(path.with_suffix(".json").read_text())
    sha256 = json.loads(path.with_suffix(".json").read_text())["sha256"]
    found = record(path, images)
    loaded = load_prior(path)
    assert isinstance(loaded, NetworkPrior)
    assert loaded.reference_statistics == loaded.optimized("bf16").reference_statistics == found
    assert json.loads(path.with_suffix(".json").read_text())["sha256"] == sha256
    save_prior(loaded, "drunet", config, path, {})
    assert load_prior(path).reference_statistics == found


def test_what_does_not_serve_is_refused(prior: PatchMixturePrior, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="N at least 10"):
        reference_statistics(prior, own(prior, 9, 0))
    with pytest.raises(ValueError, match="increasing order"):
        reference_statistics(prior, own(prior, 1, 0).expand(20, -1, -1, -1))
    for images in (own(prior, 2, 0)[0], own(prior, 2, 0) * torch.nan):
        with pytest.raises(ValueError, match=r"\(B, C, H, W\) and finite"):
            prior.check(images)
    with pytest.raises(ValueError, match="files of a prior"):
        record(tmp_path / "p.json", own(prior, 20, 0))
    path = tmp_path / "p.safetensors"
    prior.save(path)
    card = json.loads(path.with_suffix(".json").read_text())
    whole = card["reference_statistics"]
    for fault in ({"sigmas": [0.1]}, {**whole, "gain": [1.0, 2.0]}, {**whole, "spread": [3, 2, 1]}, {**whole, "a": 1}):
        path.with_suffix(".json").write_text(json.dumps({**card, "reference_statistics": fault}))
        with pytest.raises(ValueError, match="Record them again"):
            load_prior(path)


def slices(path: Path, name: str, count: int, size: int = 128) -> Tensor:
    """Stored slices, areas averaged, their 99.5th percentile 1, with the smooth phase of `phased`."""
    with h5py.File(path) as file:
        index = np.unique(np.linspace(0, len(file[name]) - 1, count).round().astype(int))
        x = torch.from_numpy(file[name][index].astype(np.float32))[:, None]
    x = torch.nn.functional.interpolate(x - min(float(x.min()), 0.0), size=(size, size), mode="area")
    return phased(x / torch.quantile(x.flatten(1), 0.995, dim=1).view(-1, 1, 1, 1))


@pytest.mark.slow
def test_a_brain_prior_tells_brains_from_other_things(data_folder: Path) -> None:
    prior = load_prior("brain-mri")
    assert isinstance(prior, NetworkPrior)
    known, held_out = (slices(data_folder / "mri_brain_train.h5", f"{part}/images", 40) for part in ("train", "val"))
    prior.reference_statistics = reference_statistics(prior, known)
    brains = prior.check(held_out[::3])
    other_scanner = prior.check(slices(data_folder / "mri_brain_clean.h5", "images", 8))
    ct = prior.check(slices(data_folder / "ct_train.h5", "train/images", 12))
    assert "mismatch" not in brains.verdicts + other_scanner.verdicts
    assert ct.verdicts.count("fits") <= 4  # 3 of 18 in the study
    assert ct.verdicts.count("mismatch") >= 2  # 7 of 18
    noise = prior.check(0.3 * normal(2, 1, 128, 128, dtype=torch.complex64))
    assert noise.verdicts == ["mismatch"] * 2
