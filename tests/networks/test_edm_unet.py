"""SongUNet and DhariwalUNet against a reference that reads the state dictionary by itself, name after name."""

import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from invdiff.networks import build
from invdiff.networks.drunet import coordinate_grid
from invdiff.networks.edm_config import edm_config, is_edm
from invdiff.networks.edm_unet import DhariwalUNet, SongUNet
from invdiff.networks.placed_unet import PlacedSongUNet

State = dict[str, Tensor]
SMALL: dict[str, Any] = {"in_channels": 2, "out_channels": 2, "size": [16, 16], "first": 8, "widths": [8, 16, 12]}
SONG: dict[str, dict[str, Any]] = {
    "ddpm++": {"blocks": 2, "attention": [1]},
    "ncsn++": {"blocks": 1, "noise": "fourier", "features": 16, "encoder": "residual", "taps": [1, 3, 3, 1]},
    "input skip, output skip": {"blocks": 1, "encoder": "skip", "decoder": "skip", "taps": [1, 3, 3, 1]},
    "output skip, pairs": {"blocks": 1, "decoder": "skip", "attention": [0, 2]},
    "classes": {"blocks": 1, "label_dim": 3, "label": 1},
    "classes, none chosen": {"blocks": 1, "label_dim": 3},
    "one level": {"widths": [8], "blocks": 1},
    "coordinates": {"in_channels": 3, "out_channels": 1, "blocks": 1, "embedding": 20},
}
ADM: dict[str, dict[str, Any]] = {
    "adm": {"blocks": 2, "attention": [1, 2], "head_width": 4},
    "first width": {"first": 12, "widths": [12, 8], "blocks": 1, "features": 6, "head_width": 8},
    "classes": {"blocks": 1, "label_dim": 3, "label": 2, "head_width": 4},
    "no attention": {"blocks": 1, "middle_attention": False},
}
CASES = [(SongUNet, o) for o in SONG.values()] + [(DhariwalUNet, o) for o in ADM.values()]


def network(kind: type[nn.Module], **options: Any) -> nn.Module:
    """A small network with random tensors, its Fourier frequencies included."""
    net = kind(**{**SMALL, **options}).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    for p in net.parameters():
        p.copy_(0.3 * torch.randn(p.shape, generator=generator))
    for name, b in net.named_buffers():
        if name == "map_noise.freqs" and options.get("noise") == "fourier":
            b.copy_(torch.randn(b.shape, generator=generator))
    return net


def image(channels: int, size: tuple[int, int] = (16, 12)) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, channels, *size, generator=generator), torch.tensor([-0.7, 0.4])


# -- the reference: layers as functions of the state dictionary ------------------------------------------------------


def blurred(x: Tensor, kernel: Tensor) -> Tensor:
    """Every channel convolved with the kernel, zeros outside, centred for even kernels as the two halves of a pair."""
    n = kernel.shape[-1]
    before, after = n // 2, (n - 1) // 2
    padded = F.pad(x, (before, after, before, after))
    out = torch.zeros_like(x)
    for i in range(n):
        for j in range(n):
            out += kernel[0, 0, i, j] * padded[..., i : i + x.shape[-2], j : j + x.shape[-1]]
    return out


def doubled(x: Tensor, kernel: Tensor) -> Tensor:
    """Zeros between the pixels, then the kernel with four times its weight."""
    wide = x.new_zeros(*x.shape[:2], 2 * x.shape[2], 2 * x.shape[3])
    wide[..., ::2, ::2] = x
    return blurred(wide, 4 * kernel)


def halved(x: Tensor, kernel: Tensor) -> Tensor:
    return blurred(x, kernel)[..., 1::2, 1::2]


def conv(s: State, name: str, x: Tensor) -> Tensor:
    weight = s[f"{name}.weight"]
    return F.conv2d(x, weight, s[f"{name}.bias"], padding=weight.shape[-1] // 2)


def normed(s: State, name: str, x: Tensor, eps: float) -> Tensor:
    groups = min(32, x.shape[1] // 4)
    z = x.reshape(len(x), groups, -1)
    z = (z - z.mean(-1, keepdim=True)) / (z.var(-1, keepdim=True, unbiased=False) + eps).sqrt()
    return z.reshape(x.shape) * s[f"{name}.weight"][:, None, None] + s[f"{name}.bias"][:, None, None]


def silu(x: Tensor) -> Tensor:
    return x / (1 + (-x).exp())


def linear(s: State, name: str, x: Tensor) -> Tensor:
    return x @ s[f"{name}.weight"].T + s.get(f"{name}.bias", torch.zeros(()))


def attention(s: State, name: str, x: Tensor, head: int, eps: float) -> Tensor:
    """Head after head, pixel against pixel; the three parts lie channel by channel, (q_1, k_1, v_1, q_2, ...)."""
    qkv = conv(s, f"{name}.qkv", normed(s, f"{name}.norm2", x, eps)).flatten(2)
    outs = []
    for h in range(x.shape[1] // head):
        part = qkv[:, 3 * head * h : 3 * head * (h + 1)]
        q, k, v = part[:, 0::3], part[:, 1::3], part[:, 2::3]
        w = torch.softmax(torch.einsum("bci,bcj->bij", q, k) / math.sqrt(head), -1)
        outs.append(torch.einsum("bij,bcj->bci", w, v))
    return conv(s, f"{name}.proj", torch.cat(outs, 1).reshape(x.shape))


def block(s: State, name: str, x: Tensor, emb: Tensor, adm: bool, head: int | None) -> Tensor:
    eps, scale = (1e-5, 1.0) if adm else (1e-6, 1 / math.sqrt(2))
    resample = {"up": doubled, "down": halved}.get(name.rsplit("_", 1)[1], lambda x, kernel: x)
    kernel = s.get(f"{name}.conv0.resample_filter", torch.zeros(()))
    h = conv(s, f"{name}.conv0", resample(silu(normed(s, f"{name}.norm0", x, eps)), kernel))
    noise = linear(s, f"{name}.affine", emb)[:, :, None, None]
    if adm:
        gain, shift = noise[:, : h.shape[1]], noise[:, h.shape[1] :]
        h = silu(normed(s, f"{name}.norm1", h, eps) * (gain + 1) + shift)
    else:
        h = silu(normed(s, f"{name}.norm1", h + noise, eps))
    h = conv(s, f"{name}.conv1", h)
    x = resample(x, kernel)
    x = scale * (h + (conv(s, f"{name}.skip", x) if f"{name}.skip.weight" in s else x))
    if f"{name}.qkv.weight" in s:
        x = scale * (x + attention(s, name, x, head or x.shape[1], eps))
    return x


def embedding(s: State, noise: Tensor, adm: bool, label: int | None) -> Tensor:
    n = s["map_layer0.weight"].shape[1]
    if "map_noise.freqs" in s:
        frequencies = 2 * math.pi * s["map_noise.freqs"]
    else:
        last = n // 2 if adm else n // 2 - 1
        frequencies = torch.tensor([math.exp(-math.log(10000) * i / last) for i in range(n // 2)])
    phase = noise[:, None] * frequencies
    emb = torch.cat([phase.cos(), phase.sin()] if adm else [phase.sin(), phase.cos()], 1)
    one_hot = None
    if "map_label.weight" in s:
        one_hot = torch.zeros(1, s["map_label.weight"].shape[1])
        if label is not None:
            one_hot[0, label] = 1
    if adm:
        emb = linear(s, "map_layer1", silu(linear(s, "map_layer0", emb)))
        return silu(emb if one_hot is None else emb + linear(s, "map_label", one_hot))
    if one_hot is not None:
        emb = emb + linear(s, "map_label", one_hot * math.sqrt(one_hot.shape[1]))
    return silu(linear(s, "map_layer1", silu(linear(s, "map_layer0", emb))))


def layers(s: State, part: str) -> Iterator[str]:
    """Names of the layers of encoder or decoder in the order of the file."""
    seen = set()
    for key in s:
        name = ".".join(key.split(".")[:2])
        if key.startswith(f"{part}.") and name not in seen:
            seen.add(name)
            yield name


def reference(s: State, x: Tensor, noise: Tensor, label: int | None = None, head: int | None = None) -> Tensor:
    """The network as the papers describe it, layer after layer in the order of the file."""
    adm = "out_conv.weight" in s
    emb = embedding(s, noise, adm, label)
    small, skips = x, []
    for name in layers(s, "enc"):
        if name.endswith("_conv"):
            x = conv(s, name, x)
        elif name.endswith("aux_down"):
            small = halved(small, s[f"{name}.resample_filter"])
            continue
        elif name.endswith("aux_skip"):
            x = skips.pop() + conv(s, name, small)
        elif name.endswith("aux_residual"):  # the filter meets the image in full: zeros outside, then the convolution
            wide = F.conv2d(F.pad(small, (2, 2, 2, 2)), s[f"{name}.weight"], s[f"{name}.bias"])
            kernel = s[f"{name}.resample_filter"]
            assert kernel.shape[-1] == 4
            small = F.conv2d(wide.flatten(0, 1)[:, None], kernel, stride=2).unflatten(0, wide.shape[:2])[:, :, 0]
            x = small = (skips.pop() + small) / math.sqrt(2)
        else:
            x = block(s, name, x, emb, adm, head)
        skips.append(x)
    out = None
    for name in layers(s, "dec"):
        if name.endswith("aux_up"):
            assert out is not None
            out = doubled(out, s[f"{name}.resample_filter"])
        elif name.endswith("aux_norm"):
            read = silu(normed(s, name, x, 1e-6))
        elif name.endswith("aux_conv"):
            out = conv(s, name, read) + (0 if out is None else out)
        else:
            x = torch.cat([x, skips.pop()], 1) if "_block" in name else x
            x = block(s, name, x, emb, adm, head)
    if adm:
        return conv(s, "out_conv", silu(normed(s, "out_norm", x, 1e-5)))
    assert out is not None
    return out


# -- tests -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "options"), CASES, ids=[*SONG, *(f"adm: {name}" for name in ADM)])
def test_the_network_is_the_reference(kind: type[nn.Module], options: dict[str, Any]) -> None:
    net = network(kind, **options)
    x, noise = image(options.get("in_channels", 2))
    wanted = reference(net.state_dict(), x, noise, options.get("label"), options.get("head_width"))
    error = float((net(x, noise) - wanted).norm() / wanted.norm())
    assert error < 1e-5  # float32 rounding, two orders of summation
    assert wanted.shape == (2, options.get("out_channels", 2), 16, 12)


def test_the_reference_sees_a_planted_fault() -> None:
    """Sine and cosine exchanged, another filter, another head width: each is far beyond the tolerance."""
    x, noise = image(2)
    net = network(SongUNet, **SONG["ncsn++"])
    wanted = reference(net.state_dict(), x, noise)
    net.map_noise.turn = 1.0
    assert float((net(x, noise) - wanted).norm() / wanted.norm()) > 1e-3
    net = network(DhariwalUNet, **ADM["adm"])
    assert float((net(x, noise) - reference(net.state_dict(), x, noise, head=2)).norm()) > 1e-3


@pytest.mark.parametrize(("kind", "options"), CASES, ids=[*SONG, *(f"adm: {name}" for name in ADM)])
def test_names_and_shapes_give_the_arguments_back(kind: type[nn.Module], options: dict[str, Any]) -> None:
    net = network(kind, **options)
    state = net.state_dict()
    name, config = edm_config(state)
    untold = {k: options[k] for k in ("head_width", "label") if k in options}
    again = build(name, config | untold)
    again.load_state_dict(state)
    x, noise = image(options.get("in_channels", 2))
    torch.testing.assert_close(again(x, noise), net(x, noise), rtol=0, atol=0)
    wanted = {**SMALL, **options}
    assert {k: config[k] for k in wanted if k in config} == {k: v for k, v in wanted.items() if k in config}


def test_incomplete_and_foreign_tensors_get_a_sentence() -> None:
    state = network(SongUNet, blocks=1).state_dict()
    del state["enc.8x8_block0.conv0.weight"]
    with pytest.raises(ValueError, match=r"8x8_block0\.conv0\.weight' is missing"):
        edm_config(state)
    assert not is_edm({"conv_in.weight": torch.zeros(1)})
    with pytest.raises(ValueError, match="map_layer0"):
        edm_config({"conv_in.weight": torch.zeros(1)})


@pytest.mark.parametrize(
    ("name", "config", "millions"),
    [
        ("dhariwal-unet", {"size": [320, 320], "first": 128, "widths": [128, 128, 128, 256, 256], "blocks": 1}, 26.0),
        ("song-unet", {"size": [384, 384], "first": 128, "widths": [128] * 4}, 20.0),
        ("song-unet", {"in_channels": 3, "out_channels": 1, "size": [56, 56], "first": 128, "widths": [256] * 3}, 54.4),
    ],
    ids=["InverseBench MRI", "ambient MRI, fully sampled", "PaDIS"],
)
def test_published_sizes(name: str, config: dict[str, Any], millions: float) -> None:
    with torch.device("meta"):
        net = build(name, {"in_channels": 2, "out_channels": 2, **config})
    assert sum(p.numel() for p in net.parameters()) / 1e6 == pytest.approx(millions, abs=0.05)


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="standard, skip, residual"):
        network(SongUNet, encoder="pyramid")
    with pytest.raises(ValueError, match="at least one level"):
        network(SongUNet, widths=[])
    with pytest.raises(ValueError, match="below the number of classes"):
        network(DhariwalUNet, label_dim=3, label=3)


def test_samples_do_not_meet() -> None:
    net = network(SongUNet, **SONG["ddpm++"])
    x, noise = image(2)
    torch.testing.assert_close(net(x, noise)[1:], net(x[1:], noise[1:]), rtol=1e-4, atol=1e-5)


def test_coordinates_are_the_last_channels() -> None:
    options = {**SMALL, "in_channels": 3, "out_channels": 1, "blocks": 1}
    plain, placed = network(SongUNet, **options), network(PlacedSongUNet, **options, extent=0.8)
    placed.load_state_dict(plain.state_dict())
    x, noise = image(1)
    place = coordinate_grid(16, 12)
    wanted = plain(torch.cat([x, 0.8 * place.expand(2, -1, -1, -1)], 1), noise)
    torch.testing.assert_close(placed(x, noise, place), wanted, rtol=0, atol=0)
    with pytest.raises(ValueError, match="TiledPrior"):
        placed(x[..., :9], noise, place[..., :9])
