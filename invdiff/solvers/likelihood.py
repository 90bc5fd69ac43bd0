"""Draws x ~ exp(-|A x - y|^2 / (2 sigma_y^2) - |x - z|^2 / (2 rho^2)): the data, and a Gaussian around z.

Linear A, exactly, by perturbing and optimising: with white n and m,

    x = argmin |A x - (y + sigma_y n)|^2 + (sigma_y / rho)^2 |x - (z + rho m)|^2

has the mean and the covariance (A^H A / sigma_y^2 + I / rho^2)^-1 of that Gaussian. Other A by Hamiltonian Monte Carlo:
leapfrog trajectories from z, accepted by their energy, each sample with its own step length.

Source: Orieux, Feron and Giovannelli, Sampling High-Dimensional Gaussian Distributions for General Linear Inverse
Problems, IEEE Signal Processing Letters 2012; Neal, MCMC Using Hamiltonian Dynamics, 2011, section 5.3.
Differs: sigma_y is at least a thousandth of |A| rho, so that noise-free data keep the system solvable; the step length
of the trajectories follows their acceptance (0.84 at rest) through the first half of the chain, which is left out.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from invdiff.operators.base import LinearOperator, Operator
from invdiff.random import Noise
from invdiff.shapes import norm, over
from invdiff.solvers.method import operator_norm

LEAPS, FLOOR = 5, 1e-3
Potential = Callable[[Tensor], tuple[Tensor, Tensor]]


def draw(
    y: Tensor, op: Operator, z: Tensor, rho: Tensor, sigma_y: Tensor, noise: Noise, inner: int, tol: float = 1e-4
) -> Tensor:
    """One draw per sample, of the shape of z (B, *op.shape_in).

    Args:
        y: (B, *op.shape_out). rho, sigma_y: (B,), per real component.
        inner: conjugate-gradient iterations at most, where A is linear and has no closed form; trajectories of five
            gradients each where A is not linear.
        tol: relative residual at which conjugate gradients stop.
    """
    sigma_y = torch.maximum(sigma_y, FLOOR * operator_norm(op) * rho)
    if not isinstance(op, LinearOperator):
        return hamiltonian(potential(y, op, z, rho, sigma_y), z, rho, noise, inner)
    z = z + over(rho, z) * noise.like(z)
    y = y + over(sigma_y, y) * noise.like(y)
    return op.prox(z, y, (sigma_y / rho) ** 2, iterations=inner, tol=tol)


def potential(y: Tensor, op: Operator, z: Tensor, rho: Tensor, sigma_y: Tensor) -> Potential:
    """x -> U(x), (B,), and its gradient, for U = |A x - y|^2 / (2 sigma_y^2) + |x - z|^2 / (2 rho^2)."""

    def energy(x: Tensor) -> tuple[Tensor, Tensor]:
        residual, away = op(x) - y, x - z
        value = (norm(residual) / sigma_y) ** 2 / 2 + (norm(away) / rho) ** 2 / 2
        return value, op.vjp(x, residual / over(sigma_y**2, residual)) + away / over(rho**2, away)

    return energy


def hamiltonian(energy: Potential, x: Tensor, scale: Tensor, noise: Noise, trajectories: int) -> Tensor:
    """The last state of a chain from x, (B, ...), whose step adapts in its first half and is fixed in its second.

    scale: (B,), a length on which U is smooth; the first step comes from the curvature of U over a hundredth of it.
    """
    u, g = energy(x)
    probe = over(scale / 100, x) * noise.like(x)
    step = (norm(probe) / norm(energy(x + probe)[1] - g)).sqrt() / 2
    for i in range(trajectories):
        momentum = noise.like(x)
        x_new, u_new, g_new, p = leapfrog(energy, x, g, momentum, step)
        change = u_new - u + (norm(p) ** 2 - norm(momentum) ** 2) / 2
        log_uniform = torch.special.log_ndtr(noise.like(u[:, None])[:, 0])
        accept = torch.isfinite(change) & (log_uniform < -change)
        x, g = torch.where(over(accept, x), x_new, x), torch.where(over(accept, g), g_new, g)
        u = torch.where(accept, u_new, u)
        step = step * torch.where(accept, 1.1, 0.6).to(step) if 2 * i < trajectories else step
    return x


def leapfrog(energy: Potential, x: Tensor, g: Tensor, p: Tensor, step: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Position, its energy and gradient, and momentum after `LEAPS` steps of length `step`, (B,)."""
    h = over(step, x)
    for _ in range(LEAPS):
        p = p - h / 2 * g
        x = x + h * p
        u, g = energy(x)
        p = p - h / 2 * g
    return x, u, g, p
