"""`NetworkPrior.optimized`: half precision above `finish`, float32 below, and what each option leaves unchanged."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from invdiff.networks.drunet import DRUNet
from invdiff.priors.checkpoints import load_prior, save_prior
from invdiff.priors.cuda_graph import Replayed
from invdiff.priors.execution import Half, choose, has_bf16
from invdiff.priors.network import NetworkPrior
from invdiff.priors.prior import denoise_vjp

CONFIG = {"widths": [8, 16], "blocks": 1, "stem": 2, "embedding": 8}
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def prior() -> NetworkPrior:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = DRUNet(widths=(8, 16), blocks=1, stem=2, embedding=8)
        for p in net.parameters():
            p.data = 0.1 * torch.randn(p.shape)
    return NetworkPrior(net, sigma_data=0.25, complex=True, percentile=99.5, domain="test")


@pytest.fixture(scope="module")
def images() -> Tensor:
    return 0.25 * torch.randn(2, 1, 12, 14, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_is_near_and_the_original_stays(prior: NetworkPrior, images: Tensor, precision: str) -> None:
    before = {name: t.clone() for name, t in prior.state_dict().items()}
    fast = prior.optimized(precision, finish=0.0)  # type: ignore[arg-type]
    found = fast.compare_precision(images, (0.05, 0.3, 1.0))
    digits = {"bf16": 2.0**-8, "fp16": 2.0**-11}[precision]
    assert all(0 < error < 8 * digits for error in found.denoised)  # a few roundings in a row
    assert all(0 < error < 40 * digits for error in found.gradient)  # ReLUs near 0 switch
    assert all(torch.equal(t, before[name]) for name, t in prior.state_dict().items())
    assert prior.execution.reduced is None
    assert fast(images, 0.3).dtype == torch.complex64
    assert (fast.percentile, fast.domain, fast.complex) == (99.5, "test", True)


def test_half_precision_reaches_the_convolutions(prior: NetworkPrior) -> None:
    """Weights are stored in bf16, and the first activation is bf16: nothing is silently float32."""
    fast = prior.optimized("bf16")
    half = fast.execution.reduced
    assert half is not None
    seen: list[torch.dtype] = []
    half.net.get_submodule("head").register_forward_hook(lambda module, inputs, out: seen.append(out.dtype))
    fast(torch.zeros(1, 1, 8, 8, dtype=torch.complex64), 0.3)
    assert seen == [torch.bfloat16]
    kinds = {p.ndim > 1: p.dtype for p in half.net.parameters()}
    assert kinds == {True: torch.bfloat16, False: torch.float32}


def test_low_noise_is_in_float32_sample_by_sample(prior: NetworkPrior, images: Tensor) -> None:
    fast, always = prior.optimized("bf16", finish=0.1), prior.optimized("bf16", finish=0.0)
    assert torch.equal(fast(images, 0.09), prior(images, 0.09))
    assert torch.equal(fast(images, 0.1), always(images, 0.1))
    assert not torch.equal(fast(images, 0.1), prior(images, 0.1))
    mixed = fast(images, torch.tensor([0.05, 0.5]))
    torch.testing.assert_close(mixed[:1], prior(images[:1], 0.05), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(mixed[1:], always(images[1:], 0.5), rtol=1e-3, atol=1e-4)  # bf16 in another batch
    x0, pull = denoise_vjp(fast, images, torch.tensor([0.05, 0.5]))
    assert torch.equal(x0, mixed)
    torch.testing.assert_close(pull(images)[:1], denoise_vjp(prior, images[:1], 0.05)[1](images[:1]))


def test_float32_changes_nothing(prior: NetworkPrior, images: Tensor) -> None:
    same = prior.optimized("fp32")
    assert torch.equal(same(images, 0.3), prior(images, 0.3))
    report = same.compare_precision(images)
    assert report.denoised == report.gradient == report.in_noise == (0.0,) * 4
    assert str(report).count("\n") == 4
    plain = prior.optimized("fp32", channels_last=False)
    torch.testing.assert_close(plain(images, 0.3), prior(images, 0.3), rtol=1e-4, atol=1e-6)  # other kernels


def test_a_coarser_network_is_noticed(prior: NetworkPrior, images: Tensor) -> None:
    wrong = prior.optimized("bf16", finish=0.0)
    assert wrong.execution.reduced is not None
    for p in wrong.execution.reduced.parameters():
        p.data *= 1.1
    assert min(wrong.compare_precision(images, (0.3, 1.0)).denoised) > 0.03


def test_checkpointing_gives_the_same_gradient(prior: NetworkPrior, images: Tensor) -> None:
    lean = prior.optimized("fp32", checkpointing=True)
    assert lean.net.checkpointing
    assert not prior.net.checkpointing
    torch.testing.assert_close(
        denoise_vjp(lean, images, 0.3)[1](images), denoise_vjp(prior, images, 0.3)[1](images), rtol=1e-6, atol=1e-7
    )
    half = prior.optimized("bf16", checkpointing=True).execution.reduced
    assert half is not None
    assert half.net.checkpointing
    with pytest.raises(ValueError, match="Conv2d has no stages to checkpoint"):
        NetworkPrior(nn.Conv2d(2, 2, 1), sigma_data=1.0).optimized(checkpointing=True)


class Flops(TorchDispatchMode):
    """Counts multiplications of convolutions and matrix products."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func._overloadpacket in flop_registry:
            self.total += flop_registry[func._overloadpacket](*args, **(kwargs or {}), out_val=out)
        return out


def test_an_input_gradient_costs_one_more_evaluation(prior: NetworkPrior, images: Tensor) -> None:
    with Flops() as forward, torch.no_grad():
        prior(images, 0.3)
    with Flops() as both:
        denoise_vjp(prior, images, 0.3)[1](images)
    assert 1.9 * forward.total < both.total < 2.1 * forward.total
    trained = prior.optimized("fp32")
    trained.net.requires_grad_(True)
    with Flops() as wasteful:  # the control: weights differentiated as well
        torch.autograd.grad(trained(images.clone().requires_grad_(), 0.3).abs().sum(), list(trained.net.parameters()))
    assert wasteful.total > 2.5 * forward.total


def test_inference_mode_leaves_nothing_behind(prior: NetworkPrior, images: Tensor) -> None:
    fast = prior.optimized("bf16")
    with torch.inference_mode():
        first = fast(images, 0.3)
    assert first.is_inference()
    x0, pull = denoise_vjp(fast, images, 0.3)
    assert torch.equal(x0, first)
    assert bool(torch.isfinite(pull(images).abs()).all())


def test_auto_looks_at_the_instructions_of_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    found: dict[str, bool] = {}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found, raising=False)
    assert choose("auto", CPU) == "fp32"
    found.update(avx512_bf16=False, amx_tile=False)
    assert not has_bf16(CPU)
    found.update(avx512_bf16=True)
    assert choose("auto", CPU) == "bf16"
    assert choose("fp32", CPU) == "fp32"
    found.clear()
    found.update(amx_bf16=True)
    assert has_bf16(CPU)
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert not has_bf16(CPU)
    with pytest.raises(ValueError, match="'auto', 'fp32', 'bf16', 'fp16', got 'int8'"):
        choose("int8", CPU)  # type: ignore[arg-type]


def test_an_optimized_prior_saves_as_the_original(prior: NetworkPrior, tmp_path: object, images: Tensor) -> None:
    path = tmp_path / "p.safetensors"  # type: ignore[operator]
    save_prior(prior.optimized("bf16"), "drunet", CONFIG, path, {})
    assert torch.equal(load_prior(path)(images, 0.3), _rounded(prior)(images, 0.3))
    assert prior.optimized("bf16").optimized("fp32").execution.reduced is None


def _rounded(prior: NetworkPrior) -> NetworkPrior:
    same = prior.optimized("fp32")
    for p in same.net.parameters():
        p.data = p.data.half().float() if p.ndim > 1 else p.data
    return same


def test_compiling_is_asked_of_both_networks(prior: NetworkPrior, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, dict[str, object]]] = []
    monkeypatch.setattr(nn.Module, "compile", lambda self, **options: asked.append((type(self).__name__, options)))
    prior.optimized("bf16", compile=True)
    assert asked == [("DRUNet", {"dynamic": False}), ("Half", {"dynamic": False})]


def test_graphs_leave_the_processor_alone(prior: NetworkPrior, images: Tensor) -> None:
    replayed = prior.optimized("fp32", cuda_graph=True)
    assert torch.equal(replayed(images, 0.3), prior(images, 0.3))
    assert [len(graph.recorded) for graph in replayed.execution.graphs.values()] == [0]


def test_a_graph_is_recorded_once_per_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bookkeeping, with a stand-in for the device: recorded once, replayed, old shapes let go."""
    replays: list[tuple[int, ...]] = []

    def record(self: Replayed, inputs: tuple[Tensor, ...]) -> object:
        held = [t.clone() for t in inputs]
        out = torch.empty_like(held[0])
        return SimpleNamespace(replay=lambda: (replays.append(tuple(out.shape)), out.copy_(2 * held[0]))), held, out

    monkeypatch.setattr(Replayed, "_record", record)
    monkeypatch.setattr(Tensor, "is_cuda", True)
    graph = Replayed(lambda x: 2 * x)
    for n in (1, 2, 1, 3, 4, 5):
        x = torch.full((n,), float(n))
        out = graph(x)
        assert torch.equal(out, 2 * x)
        out.zero_()  # what is returned belongs to the caller
    assert len(replays) == 6
    assert sorted(len(held[0]) for _, held, _ in graph.recorded.values()) == [2, 3, 4, 5]
    leaf = torch.ones(2, requires_grad=True)
    assert graph(leaf).requires_grad
    assert len(replays) == 6


def test_a_graph_is_recorded_anew_where_the_weights_have_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    records: list[int] = []

    def record(self: Replayed, inputs: tuple[Tensor, ...]) -> object:
        records.append(1)
        return SimpleNamespace(replay=lambda: None), [t.clone() for t in inputs], torch.zeros(1)

    monkeypatch.setattr(Replayed, "_record", record)
    monkeypatch.setattr(Tensor, "is_cuda", True)
    net = nn.Linear(2, 2).requires_grad_(False)
    graph = Replayed(net)
    graph(torch.ones(1, 2))
    net.weight.copy_(torch.zeros(2, 2))  # in place: a recording reads what is there
    graph(torch.ones(1, 2))
    assert len(records) == 1
    net.weight.data = torch.ones(2, 2)
    graph(torch.ones(1, 2))
    assert len(records) == 2


@pytest.mark.cuda
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_graphs_on_a_device(prior: NetworkPrior, images: Tensor, precision: str) -> None:
    moved = prior.optimized("fp32").to("cuda").optimized(precision, cuda_graph=True)  # type: ignore[arg-type]
    eager = moved.optimized(precision)  # type: ignore[arg-type]
    for scale in (1.0, 2.0, 3.0):
        x = (scale * images).cuda()
        torch.testing.assert_close(moved(x, 0.3), eager(x, 0.3), rtol=1e-3, atol=1e-4)
    assert Half in {type(part) for part in moved.execution.graphs} or precision == "fp32"
    torch.testing.assert_close(denoise_vjp(moved, x, 0.3)[1](x), denoise_vjp(eager, x, 0.3)[1](x), rtol=1e-2, atol=1e-3)
