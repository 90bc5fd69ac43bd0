"""Cards of the packaged priors: what the library says of a loaded one, and data/weights/NAME.json."""

from typing import Any

from docs.render.markdown import escaped, table
from invdiff.priors.checkpoints import available, load_prior

LEFT_OUT = ("training", "validation_psnr", "denoising_psnr")  # the settings of the recipe, and the tables


def listing() -> list[str]:
    """All packaged priors, with links."""
    rows = [
        (f"[`{name}`]({name}.md)", str(content.get("kind", "network")), _values(name), escaped(content["domain"]))
        for name, content in available().items()
    ]
    return table(("prior", "kind", "images", "domain"), rows)


def facts(name: str) -> list[str]:
    """What a solver needs to know of it."""
    prior, content = load_prior(name), available()[name]
    rows = [
        ("kind", f"{content.get('kind', 'network')} (`{type(prior).__name__}`)"),
        ("images", f"{_values(name)}, one channel, {'any size' if prior.shape is None else prior.shape}"),
        ("range of clean images", f"{prior.range[0]:g} to {prior.range[1]:g}"),
        ("noise levels", f"{prior.sigma_min:g} to {prior.sigma_max:g}"),
        ("scale", _scale(prior)),
        ("domain", escaped(prior.domain)),
    ]
    return table(("", f"`{name}`"), rows)


def card(name: str) -> list[str]:
    """Where it comes from, what it cost, and its limits."""
    told = available()[name]["card"]
    return table(("", f"`{name}`"), [(key.replace("_", " "), _text(told[key])) for key in told if key not in LEFT_OUT])


def validation(name: str) -> list[str]:
    """PSNR in dB of denoising by noise level, as the card has it."""
    told = available()[name]["card"]
    columns = told["denoising_psnr"] if "denoising_psnr" in told else {"PSNR, dB": told["validation_psnr"]}
    sigmas = list(next(iter(columns.values())))
    rows = [(escaped(key), *(f"{values[s]:.2f}" for s in sigmas)) for key, values in columns.items()]
    return table(("sigma", *sigmas), rows)


def _values(name: str) -> str:
    return "complex" if load_prior(name).complex else "real"


def _scale(prior: Any) -> str:
    if prior.percentile is not None:
        return f"percentile {prior.percentile:g} of the magnitude is 1"
    low, high = prior.window
    return f"the range stands for {low:g} to {high:g} mm^-1"


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return escaped(", ".join(f"{key}: {inner}" for key, inner in value.items()))
    if isinstance(value, str) and value.startswith(("invdiff ", "python ")):
        return f"`{value}`"
    return escaped(str(value))
