"""A hybrid prior on disk: the Gaussian and the switch in files of their own, beside those of the network."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from invdiff.priors.coarse import CoarseGaussian
from invdiff.priors.container import not_a_prior, read_content, read_tensors, write_pair
from invdiff.priors.hybrid import HybridPrior
from invdiff.priors.prior import Prior

OPTIONS = ("sigma_switch", "octaves", "sigma_teleport")


def save_hybrid(prior: HybridPrior, network: str | Path, path: str | Path, card: dict[str, Any] | None = None) -> None:
    """Write PATH.safetensors (the Gaussian, half precision, 0.12 MB by default) and PATH.json.

    Args:
        prior: with a `CoarseGaussian`.
        network: file of its network, PATH.safetensors in the same folder, as `save_prior` writes it.
        path: ending in .safetensors.
        card: what a user should know: data, the noise levels at which the parts were compared.

    Raises:
        ValueError: the network's file is missing or elsewhere, or is `path` itself.
        TypeError: a Gaussian of one image size.
    """
    network, path = Path(network), Path(path)
    if not isinstance(prior.gaussian, CoarseGaussian):
        raise TypeError("only a hybrid prior with a CoarseGaussian can be saved; CoarseGaussian.fit makes one.")
    if network.resolve().parent != path.resolve().parent or network.resolve() == path.resolve():
        raise ValueError(f"{path} must be another file in the folder of its network {network}.")
    content = {
        "kind": "hybrid",
        "domain": prior.domain,
        "network": {"file": network.name, "sha256": read_content(network).get("sha256")},
        **{name: getattr(prior, name) for name in OPTIONS},
        "gaussian": prior.gaussian.scalars(),
        "card": card or {},
    }
    write_pair(path, prior.gaussian.tensors(), content)


def read_hybrid(path: Path, options: dict[str, Any], read: Callable[[Path, dict[str, Any]], Prior]) -> HybridPrior:
    """The prior that `save_hybrid` wrote; `read` opens its network. Options not in `OPTIONS` are the network's.

    Raises:
        ValueError: files that are missing or altered, or a network other than the one the switch was chosen for.
    """
    content = read_content(path)
    try:
        own = {name: options.get(name, content[name]) for name in OPTIONS}
        network, sha256 = path.with_name(content["network"]["file"]), content["network"]["sha256"]
        gaussian = CoarseGaussian.restored(read_tensors(path, content.get("sha256")), content["gaussian"])
    except (KeyError, TypeError) as error:
        raise not_a_prior(path.with_suffix(".json"), error) from error
    found = read_content(network).get("sha256")
    if found != sha256:
        raise ValueError(
            f"{path} belongs to another network: it wants {network.name} with SHA-256 {str(sha256)[:12]}..., "
            f"which has {str(found)[:12]}.... Run recipes/fit_hybrid.py for the network that is there."
        )
    net = read(network, {name: value for name, value in options.items() if name not in OPTIONS})
    return HybridPrior(net, gaussian, **own)
