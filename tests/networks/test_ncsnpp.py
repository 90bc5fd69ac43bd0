"""NCSNpp against a reference that walks the numbered layers of the state dictionary as a stack machine."""

import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from invdiff.networks import build
from invdiff.networks.ncsnpp import NCSNpp
from invdiff.networks.ncsnpp_config import is_ncsnpp, ncsnpp_config

Layer = dict[str, Tensor]
SMALL: dict[str, Any] = {"channels": 1, "first": 8, "widths": [8, 16, 12], "blocks": 1}
CASES: dict[str, dict[str, Any]] = {
    "score-MRI": {"blocks": 2, "attention": []},
    "attention at two levels": {"attention": [0, 2]},
    "input and output skip": {"progressive_input": "skip", "progressive": "skip", "attention": [1]},
    "averages": {"taps": [1, 1], "attention": [1]},
    "averages without input": {"taps": [1, 1], "progressive_input": "none"},
    "no copies of the image": {"progressive_input": "none"},
    "VP": {"noise": "positional", "block": "ddpm", "taps": [1, 1], "progressive_input": "none", "channels": 2},
    "VP with copies": {"noise": "positional", "block": "ddpm", "taps": [1, 1], "attention": [2]},
    "VP of biggan blocks": {"noise": "positional", "progressive_input": "none", "attention": [1]},
    "plain sums, centred": {"skip_rescale": False, "centered": True, "scale_by_sigma": False},
    "one level": {"widths": [8], "progressive_input": "none"},
}
UNTOLD = ("skip_rescale", "centered", "scale_by_sigma")
NOISE = {"fourier": torch.tensor([0.3, 2.0]), "positional": torch.tensor([12.5, 700.0])}


def network(**options: Any) -> NCSNpp:
    net = NCSNpp(**{**SMALL, **options}).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    for p in net.parameters():
        p.copy_(0.3 * torch.randn(p.shape, generator=generator))
    return net


def image(options: dict[str, Any]) -> tuple[Tensor, Tensor]:
    x = torch.rand(2, options.get("channels", 1), 16, 12, generator=torch.Generator().manual_seed(1))
    return x, NOISE[options.get("noise", "fourier")]


# -- the reference ---------------------------------------------------------------------------------------------------


def silu(x: Tensor) -> Tensor:
    return x / (1 + (-x).exp())


def normed(weight: Tensor, bias: Tensor, x: Tensor) -> Tensor:
    z = x.reshape(len(x), min(32, x.shape[1] // 4), -1)
    z = (z - z.mean(-1, keepdim=True)) / (z.var(-1, keepdim=True, unbiased=False) + 1e-6).sqrt()
    return z.reshape(x.shape) * weight[:, None, None] + bias[:, None, None]


def conv(layer: Layer, name: str, x: Tensor) -> Tensor:
    weight = layer[f"{name}weight"]
    return F.conv2d(x, weight, layer[f"{name}bias"], padding=weight.shape[-1] // 2)


def matrix(layer: Layer, name: str, x: Tensor) -> Tensor:
    return torch.einsum("bchw,cd->bdhw", x, layer[f"{name}.W"]) + layer[f"{name}.b"][:, None, None]


def kernel(taps: list[float]) -> Tensor:
    row = torch.tensor(taps, dtype=torch.float32)
    return row[:, None] * row / row.sum() ** 2


def spread(x: Tensor, taps: list[float]) -> Tensor:
    """Twice the size: zeros between the pixels, the filter with weight four."""
    n = len(taps)
    wide = x.new_zeros(*x.shape[:2], 2 * x.shape[2], 2 * x.shape[3])
    wide[..., ::2, ::2] = x
    before, after = n // 2, (n - 1) // 2
    f = 4 * kernel(taps).expand(x.shape[1], 1, n, n)
    return F.conv2d(F.pad(wide, (before, after, before, after)), f, groups=x.shape[1])


def shrunk(x: Tensor, taps: list[float], margin: int | None = None) -> Tensor:
    """Filtered, then every second pixel."""
    n = len(taps)
    margin = (n - 2) // 2 if margin is None else margin
    f = kernel(taps).expand(x.shape[1], 1, n, n)
    return F.conv2d(F.pad(x, [margin] * 4), f, groups=x.shape[1])[..., ::2, ::2]


def residual(layer: Layer, x: Tensor, emb: Tensor, resample: Any, scale: float) -> Tensor:
    h = silu(normed(layer["GroupNorm_0.weight"], layer["GroupNorm_0.bias"], x))
    h = conv(layer, "Conv_0.", resample(h))
    h = h + (silu(emb) @ layer["Dense_0.weight"].T + layer["Dense_0.bias"])[:, :, None, None]
    h = conv(layer, "Conv_1.", silu(normed(layer["GroupNorm_1.weight"], layer["GroupNorm_1.bias"], h)))
    x = resample(x)
    if "Conv_2.weight" in layer:
        x = conv(layer, "Conv_2.", x)
    elif "NIN_0.W" in layer:
        x = matrix(layer, "NIN_0", x)
    return scale * (x + h)


def attended(layer: Layer, x: Tensor, scale: float) -> Tensor:
    h = normed(layer["GroupNorm_0.weight"], layer["GroupNorm_0.bias"], x)
    q, k, v = (matrix(layer, f"NIN_{i}", h) for i in range(3))
    w = torch.einsum("bchw,bcij->bhwij", q, k) / math.sqrt(x.shape[1])
    w = torch.softmax(w.flatten(3), -1).reshape(w.shape)
    return scale * (x + matrix(layer, "NIN_3", torch.einsum("bhwij,bcij->bchw", w, v)))


def numbered(state: dict[str, Tensor]) -> Iterator[Layer]:
    """Layers by number; numbers that are missing belong to layers without tensors."""
    for i in range(1 + max(int(name.split(".")[1]) for name in state)):
        start = f"all_modules.{i}."
        yield {name.removeprefix(start): t for name, t in state.items() if name.startswith(start)}


def reference(net: NCSNpp, o: dict[str, Any], x: Tensor, noise: Tensor) -> Tensor:
    """The network as the paper's appendix describes it; `o` are its options."""
    o = {**SMALL, "attention": [], "noise": "fourier", "progressive_input": "residual", "taps": [1, 3, 3, 1], **o}
    scale = 1.0 if not o.get("skip_rescale", True) else 2**-0.5
    biggan, taps = o.get("block", "biggan") == "biggan", o["taps"]
    todo = numbered(net.state_dict())
    if o["noise"] == "fourier":
        phase = 2 * math.pi * torch.outer(noise.log(), next(todo)["W"])
    else:
        n = o["first"] // 2
        phase = torch.outer(noise, torch.tensor([math.exp(-math.log(1e4) * i / (n - 1)) for i in range(n)]))
    emb = torch.cat([phase.sin(), phase.cos()], 1)
    first, second = next(todo), next(todo)
    emb = silu(emb @ first["weight"].T + first["bias"]) @ second["weight"].T + second["bias"]
    x = x if o.get("centered", o["noise"] == "positional") else 2 * x - 1

    def down(h: Tensor) -> Tensor:
        layer = next(todo)
        if biggan:
            return residual(layer, h, emb, lambda z: shrunk(z, taps), scale)
        return F.conv2d(F.pad(h, (0, 1, 0, 1)), layer["Conv_0.weight"], layer["Conv_0.bias"], stride=2)

    def up(h: Tensor) -> Tensor:
        layer = next(todo)
        if biggan:
            return residual(layer, h, emb, lambda z: spread(z, taps), scale)
        return conv(layer, "Conv_0.", h.repeat_interleave(2, 2).repeat_interleave(2, 3))

    small, h = x, conv(next(todo), "", x)
    kept, deepest = [h], len(o["widths"]) - 1
    for level in range(deepest + 1):
        for _ in range(o["blocks"]):
            h = residual(next(todo), h, emb, lambda z: z, scale)
            if level in o["attention"]:
                h = attended(next(todo), h, scale)
            kept.append(h)
        if level == deepest:
            break
        h = down(h)
        if o["progressive_input"] == "skip":
            small = shrunk(small, taps)
            h = conv(next(todo), "Conv_0.", small) + h
        elif o["progressive_input"] == "residual":
            layer = next(todo)
            if len(taps) == 4:  # filter first, then every second result of the convolution
                f = kernel(taps).expand(small.shape[1], 1, 4, 4)
                blurred = F.conv2d(F.pad(small, [2] * 4), f, groups=small.shape[1])
                small = F.conv2d(blurred, layer["Conv2d_0.weight"], layer["Conv2d_0.bias"], stride=2)
            else:
                small = F.conv2d(F.pad(small, (0, 1, 0, 1)), layer["Conv_0.weight"], layer["Conv_0.bias"], stride=2)
            h = small = scale * (small + h)
        kept.append(h)
    h = residual(next(todo), h, emb, lambda z: z, scale)
    h = attended(next(todo), h, scale)
    h = residual(next(todo), h, emb, lambda z: z, scale)
    out = None
    for level in range(deepest, -1, -1):
        for _ in range(o["blocks"] + 1):
            h = residual(next(todo), torch.cat([h, kept.pop()], 1), emb, lambda z: z, scale)
        if level in o["attention"]:
            h = attended(next(todo), h, scale)
        if o.get("progressive") == "skip" or level == 0:
            if out is not None:
                out = spread(out, taps)
            norm = next(todo)
            read = conv(next(todo), "", silu(normed(norm["weight"], norm["bias"], h)))
            out = read if out is None else out + read
        if level:
            h = up(h)
    assert out is not None
    assert next(todo, None) is None
    return out / noise[:, None, None, None] if o.get("scale_by_sigma", o["noise"] == "fourier") else out


# -- tests -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", CASES.values(), ids=CASES)
def test_the_network_is_the_reference(options: dict[str, Any]) -> None:
    net = network(**options)
    x, noise = image(options)
    wanted = reference(net, options, x, noise)
    assert float((net(x, noise) - wanted).norm() / wanted.norm()) < 1e-5  # float32 rounding
    assert wanted.shape == x.shape


def test_the_reference_sees_planted_faults() -> None:
    """A filter, a scale and a value range that are not the network's."""
    x, noise = image({})
    net = network()
    for fault in ({"skip_rescale": False}, {"centered": True}, {"scale_by_sigma": False}):
        wanted = reference(net, fault, x, noise)
        assert float((net(x, noise) - wanted).norm() / wanted.norm()) > 1e-2
    options = CASES["averages without input"]
    wanted = reference(network(**options), {**options, "taps": [1, 3, 3, 1]}, x, noise)
    assert float((network(**options)(x, noise) - wanted).norm() / wanted.norm()) > 1e-2


@pytest.mark.parametrize("options", CASES.values(), ids=CASES)
def test_names_and_shapes_give_the_arguments_back(options: dict[str, Any]) -> None:
    net = network(**options)
    state = net.state_dict()
    assert is_ncsnpp(state)
    found = ncsnpp_config(state)
    untold = {k: v for k, v in options.items() if k in UNTOLD}
    if options is CASES["averages without input"]:  # the filter is not in the file, nor are layers that tell it
        untold["taps"] = [1, 1]
    again = build("ncsnpp", found | untold)
    again.load_state_dict(state)
    x, noise = image(options)
    torch.testing.assert_close(again(x, noise), net(x, noise), rtol=0, atol=0)


def test_what_is_no_such_network_gets_a_sentence() -> None:
    assert not is_ncsnpp({"conv.weight": torch.zeros(1)})
    state = network().state_dict()
    with pytest.raises(ValueError, match="starts with two linear layers"):
        ncsnpp_config({name: t for name, t in state.items() if not name.startswith("all_modules.1.")})
    with pytest.raises(ValueError, match="incomplete"):
        ncsnpp_config({name: t for name, t in state.items() if int(name.split(".")[1]) < 6})
    with pytest.raises(ValueError, match="must be one of"):
        network(block="resnet")
    with pytest.raises(ValueError, match="scale_by_sigma needs"):
        network(noise="positional", scale_by_sigma=True)


def test_samples_do_not_meet() -> None:
    net = network()
    x, noise = image({})
    torch.testing.assert_close(net(x, noise)[1:], net(x[1:], noise[1:]), rtol=1e-4, atol=1e-5)
