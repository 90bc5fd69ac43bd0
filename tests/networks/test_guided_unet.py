"""The guided-diffusion network against a plain functional one that reads the published layout from a state dict."""

import math
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from invdiff.networks import build
from invdiff.networks.guided_blocks import time_features
from invdiff.networks.guided_config import guided_config
from invdiff.networks.guided_unet import GuidedUNet


def net(config: dict[str, Any]) -> GuidedUNet:
    """Random weights large enough for every part to be seen in the output."""
    with torch.device("meta"):
        made = GuidedUNet(**config)
    generator = torch.Generator().manual_seed(0)
    made = made.to_empty(device="cpu").double()
    for name, p in made.named_parameters():
        scale = 1 / math.sqrt(p[0].numel()) if p.ndim > 1 else 0.2
        p.data = scale * torch.randn(p.shape, generator=generator, dtype=p.dtype)
        if name.endswith(("norm.weight", "layers.0.weight", "out.0.weight")):
            p.data += 1
    return made.eval().requires_grad_(False)


@dataclass
class Published:
    """The network as published, from names alone; which blocks change the resolution is given, heads and order too."""

    tensors: dict[str, Tensor]
    halves: set[str]
    doubles: set[str]
    heads: int | None = None
    head_width: int = 64
    order: str = "legacy"
    label: int | None = None
    used: set[str] = field(default_factory=set)

    def get(self, name: str) -> Tensor:
        self.used.add(name)
        return self.tensors[name]

    def has(self, name: str) -> bool:
        return name in self.tensors

    def linear(self, name: str, x: Tensor) -> Tensor:
        return x @ self.get(f"{name}.weight").mT + self.get(f"{name}.bias")

    def conv(self, name: str, x: Tensor, stride: int = 1) -> Tensor:
        weight = self.get(f"{name}.weight")
        return F.conv2d(x, weight, self.get(f"{name}.bias"), stride, weight.shape[-1] // 2)

    def norm(self, name: str, x: Tensor) -> Tensor:
        groups = x.reshape(len(x), 32, -1)
        mean, var = groups.mean(2, keepdim=True), groups.var(2, unbiased=False, keepdim=True)
        flat = ((groups - mean) / (var + 1e-5).sqrt()).reshape(x.shape)
        gain, bias = (self.get(f"{name}.{part}").reshape(-1, *[1] * (x.ndim - 2)) for part in ("weight", "bias"))
        return flat * gain + bias

    def resize(self, name: str, x: Tensor) -> Tensor:
        if name in self.doubles:
            return x.repeat_interleave(2, 2).repeat_interleave(2, 3)
        if name in self.halves:
            return (x[..., ::2, ::2] + x[..., 1::2, ::2] + x[..., ::2, 1::2] + x[..., 1::2, 1::2]) / 4
        return x

    def residual(self, name: str, x: Tensor, e: Tensor) -> Tensor:
        h = F.silu(self.norm(f"{name}.in_layers.0", x))
        h = self.conv(f"{name}.in_layers.2", self.resize(name, h))
        x = self.resize(name, x)
        change = self.linear(f"{name}.emb_layers.1", F.silu(e))[:, :, None, None]
        if change.shape[1] == 2 * h.shape[1]:
            scale, shift = change[:, : h.shape[1]], change[:, h.shape[1] :]
            h = self.norm(f"{name}.out_layers.0", h) * (1 + scale) + shift
        else:
            h = self.norm(f"{name}.out_layers.0", h + change)
        h = self.conv(f"{name}.out_layers.3", F.silu(h))
        skip = f"{name}.skip_connection"
        return h + (self.conv(skip, x) if self.has(f"{skip}.weight") else x)

    def attention(self, name: str, x: Tensor) -> Tensor:
        channels = x.shape[1]
        heads = self.heads or channels // self.head_width
        d = channels // heads
        flat = self.norm(f"{name}.norm", x).flatten(2)
        qkv = self.get(f"{name}.qkv.weight")[..., 0] @ flat + self.get(f"{name}.qkv.bias")[:, None]
        out = []
        for i in range(heads):
            starts = [3 * d * i, 3 * d * i + d, 3 * d * i + 2 * d]
            if self.order == "new":
                starts = [d * i, channels + d * i, 2 * channels + d * i]
            q, k, v = (qkv[:, s : s + d] for s in starts)
            weights = (torch.einsum("bct,bcs->bts", q, k) / math.sqrt(d)).softmax(2)
            out.append(torch.einsum("bts,bcs->bct", weights, v))
        h = self.get(f"{name}.proj_out.weight")[..., 0] @ torch.cat(out, 1) + self.get(f"{name}.proj_out.bias")[:, None]
        return x + h.reshape(x.shape)

    def stage(self, name: str, x: Tensor, e: Tensor) -> Tensor:
        x = self.resize(name, x)
        for i in range(3):
            part = f"{name}.{i}"
            if self.has(f"{part}.weight"):
                x = self.conv(part, x)
            elif self.has(f"{part}.op.weight"):
                x = self.conv(f"{part}.op", x, stride=2)
            elif self.has(f"{part}.conv.weight"):
                x = self.conv(f"{part}.conv", x.repeat_interleave(2, 2).repeat_interleave(2, 3))
            elif self.has(f"{part}.qkv.weight"):
                x = self.attention(part, x)
            elif self.has(f"{part}.in_layers.0.weight"):
                x = self.residual(part, x, e)
            elif part in self.doubles:
                x = self.resize(part, x)
        return x

    def __call__(self, x: Tensor, t: Tensor, levels: int, blocks: int) -> Tensor:
        width = self.tensors["time_embed.0.weight"].shape[1]
        rates = [10000 ** (-2 * i / width) for i in range(width // 2)]
        wave = [torch.cos(t * r) for r in rates] + [torch.sin(t * r) for r in rates]
        e = self.linear("time_embed.2", F.silu(self.linear("time_embed.0", torch.stack(wave, 1))))
        if self.label is not None:
            e = e + self.get("label_emb.weight")[self.label]
        skips = []
        for i in range(levels * (blocks + 1)):
            x = self.stage(f"input_blocks.{i}", x, e)
            skips.append(x)
        x = self.residual("middle_block.0", x, e)
        x = self.residual("middle_block.2", self.attention("middle_block.1", x), e)
        for i in range(levels * (blocks + 1)):
            x = self.stage(f"output_blocks.{i}", torch.cat([x, skips.pop()], 1), e)
        return self.conv("out.2", F.silu(self.norm("out.0", x)))


@dataclass
class Case:
    config: dict[str, Any]
    halves: set[str] = field(default_factory=set)
    doubles: set[str] = field(default_factory=set)


CASES = {
    "learned variance, residual resampling, scale and shift": Case(
        {"base": 32, "widths": [32, 64], "blocks": 1, "attention": [1], "head_width": 32},
        {"input_blocks.2.0"},
        {"output_blocks.1.2"},
    ),
    "convolutions, embedding added, new order, attention everywhere": Case(
        {
            "in_channels": 2,
            "out_channels": 2,
            "base": 64,
            "widths": [32, 64],
            "blocks": 2,
            "attention": [0, 1],
            "heads": 4,
            "qkv_order": "new",
            "scale_shift": False,
            "resampling": "conv",
        },
    ),
    "resampling without weights, no attention but in the middle": Case(
        {
            "in_channels": 1,
            "out_channels": 1,
            "base": 32,
            "widths": [32, 32, 64],
            "blocks": 1,
            "attention": [],
            "heads": 2,
            "resampling": "plain",
        },
        {"input_blocks.2", "input_blocks.4"},
        {"output_blocks.1.1", "output_blocks.3.1"},
    ),
    "one level, classes": Case(
        {
            "in_channels": 1,
            "out_channels": 2,
            "base": 32,
            "widths": [64],
            "blocks": 1,
            "attention": [0],
            "classes": 5,
            "label": 3,
            "resampling": "plain",
        },
    ),
}


def both(name: str, **changes: Any) -> tuple[Tensor, Tensor, Published]:
    """Our output and that of the published layout, the latter with heads, order or label changed."""
    case = CASES[name]
    ours, config = net(case.config), case.config
    known = {key: config[key] for key in ("heads", "head_width", "label") if key in config}
    known["order"] = config.get("qkv_order", "legacy")
    reference = Published(dict(ours.state_dict()), case.halves, case.doubles, **{**known, **changes})
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2, config.get("in_channels", 3), 8, 12, generator=generator, dtype=torch.float64)
    t = torch.tensor([3.0, 871.3], dtype=torch.float64)
    return ours(x, t), reference(x, t, len(config["widths"]), config["blocks"]), reference


@pytest.mark.parametrize("name", CASES)
def test_the_output_is_that_of_the_published_layout(name: str) -> None:
    ours, reference, published = both(name)
    torch.testing.assert_close(ours, reference, rtol=1e-9, atol=1e-9)  # double precision, another order of sums
    assert float(ours.std()) > 0.1
    assert published.used == published.tensors.keys()


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("learned variance, residual resampling, scale and shift", {"head_width": 64}),
        ("learned variance, residual resampling, scale and shift", {"order": "new"}),
        ("convolutions, embedding added, new order, attention everywhere", {"heads": 2}),
        ("one level, classes", {"label": 2}),
    ],
)
def test_wrong_heads_order_or_label_are_seen(name: str, change: dict[str, Any]) -> None:
    ours, reference, _ = both(name, **change)
    assert float((ours - reference).abs().max()) > 1e-5


@pytest.mark.parametrize(
    ("arguments", "millions"),
    [
        ({}, 93.6),
        ({"base": 256, "widths": (256, 256, 512, 512, 1024, 1024), "blocks": 2, "attention": (3, 4, 5)}, 552.8),
    ],
)
def test_the_published_networks_have_the_published_size(arguments: dict[str, Any], millions: float) -> None:
    with torch.device("meta"):
        count = sum(p.numel() for p in GuidedUNet(**arguments).parameters())
    assert count / 1e6 == pytest.approx(millions, abs=0.05)


STRUCTURES: list[dict[str, Any]] = [
    {},
    {"base": 256, "widths": [256, 256, 512, 512, 1024, 1024], "blocks": 2, "attention": [3, 4, 5]},
    {"base": 256, "widths": [128, 256, 256, 512, 512, 1024, 1024], "blocks": 2, "attention": [4, 5, 6]},
    {"in_channels": 1, "out_channels": 2, "widths": [128, 128, 256, 256, 512, 512]},
    {"in_channels": 2, "out_channels": 4, "widths": [128, 128, 256, 256, 512], "attention": []},
    {"base": 192, "widths": [192, 384, 576, 768], "blocks": 3, "attention": [1, 2, 3], "classes": 1000, "label": 0},
    {"out_channels": 3, "widths": [128, 256, 384], "attention": [1, 2], "scale_shift": False, "resampling": "conv"},
    {"out_channels": 3, "widths": [128, 256], "blocks": 3, "attention": [1], "resampling": "plain"},
]


@pytest.mark.parametrize("structure", STRUCTURES)
def test_the_structure_is_read_from_names_and_shapes(structure: dict[str, Any]) -> None:
    with torch.device("meta"):
        tensors = GuidedUNet(**structure).state_dict()
        found = guided_config(tensors)
        again = GuidedUNet(**found, label=structure.get("label")).state_dict()
    assert {name: t.shape for name, t in again.items()} == {name: t.shape for name, t in tensors.items()}
    with torch.device("meta"):
        assert GuidedUNet(**structure).config.items() >= found.items()
    for name in structure.keys() - {"label"}:
        assert found[name] == structure[name]


def test_parts_of_a_network_are_refused() -> None:
    with torch.device("meta"):
        tensors = dict(GuidedUNet().state_dict())
    del tensors["middle_block.0.emb_layers.1.weight"]
    with pytest.raises(ValueError, match=r"middle_block.0.emb_layers.1.weight.*missing"):
        guided_config(tensors)
    with pytest.raises(ValueError, match="conditioned on text"):
        guided_config({**tensors, "input_blocks.1.1.transformer_blocks.0.norm1.weight": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"time_embed.0.weight"):
        guided_config({"conv.weight": torch.zeros(1)})


def test_settings_that_do_not_fit_are_refused() -> None:
    with torch.device("meta"):
        with pytest.raises(ValueError, match="heads of 64"):
            GuidedUNet(widths=(32, 32), attention=(1,))
        with pytest.raises(ValueError, match="3 heads"):
            GuidedUNet(heads=3)
        with pytest.raises(ValueError, match="'legacy'"):
            GuidedUNet(qkv_order="old")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="0 to 9"):
            GuidedUNet(classes=10)
        with pytest.raises(ValueError, match="no classes"):
            GuidedUNet(label=1)


def test_time_features_are_cosines_then_sines() -> None:
    out = time_features(torch.tensor([0.0, 2.5]), 5)
    expected = [math.cos(2.5), math.cos(2.5 / 100), math.sin(2.5), math.sin(2.5 / 100), 0]
    torch.testing.assert_close(out, torch.tensor([[1.0, 1, 0, 0, 0], expected]))


def test_it_is_built_by_name() -> None:
    with torch.device("meta"):
        assert isinstance(build("guided-unet", {"widths": [32], "attention": [], "heads": 1}), GuidedUNet)


@pytest.mark.slow
def test_another_implementation_of_the_layout_agrees() -> None:
    deepinv = pytest.importorskip("deepinv")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        peer = deepinv.models.DiffUNet(pretrained=None).eval()
        for p in peer.parameters():
            if not p.any():
                p.data = 0.02 * torch.randn(p.shape)
    tensors = {name: t for name, t in peer.state_dict().items() if "alphas_cumprod" not in name}  # its own tables
    with torch.device("meta"):
        ours = GuidedUNet(**guided_config(tensors))
    ours.load_state_dict(tensors, assign=True)
    x, t = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)), torch.tensor([417.0])
    with torch.no_grad():
        out, reference = ours(x, t), peer.forward_diffusion(x, t)
    torch.testing.assert_close(out, reference, rtol=1e-4, atol=1e-4 * float(reference.std()))
