"""y = C g and g = C^T y: a real sparse matrix and its transpose, both in compressed rows.

Two stored forms, since the transpose of compressed rows would have to be scattered, slowly and in any order. Dense
arguments are (rows, columns): all columns share the weights.
"""

import warnings
from functools import cache

import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from invdiff.module import Movable

LARGEST = 2**31 - 1  # entries or rows that 32-bit indices reach


class SparsePair(Movable):
    """C (rows, width) with the same number of entries in every row, float32 until moved.

    Args:
        columns: (rows, taps) int64 in [0, width); equal columns within a row add up.
        weights: (rows, taps) float64.
        width: number of columns of C.

    Raises:
        ValueError: more entries than 32-bit indices reach.
    """

    def __init__(self, columns: Tensor, weights: Tensor, width: int) -> None:
        super().__init__()
        if columns.numel() > LARGEST or width > LARGEST:
            raise ValueError(
                f"a sparse matrix of {columns.numel()} entries and {width} columns is too large for 32-bit indices. "
                "Use fewer samples at a time, or accuracy=1e-4, which keeps no matrix."
            )
        rows, taps = columns.shape
        pointers = torch.arange(rows + 1, dtype=torch.int32) * taps
        stored = (weights.float().flatten().numpy(), columns.int().flatten().numpy(), pointers.numpy())
        self._keep(csr_matrix(stored, (rows, width)))

    @classmethod
    def of(cls, matrix: csr_matrix) -> "SparsePair":
        """A float32 matrix in compressed rows, of any number of entries in each."""
        pair = cls.__new__(cls)
        Movable.__init__(pair)
        pair._keep(matrix)
        return pair

    def _keep(self, matrix: csr_matrix) -> None:
        self.size = tuple(matrix.shape)
        for name, form in (("rows", matrix), ("columns", matrix.tocsc())):
            for part, array in (("pointers", form.indptr), ("indices", form.indices), ("values", form.data)):
                self.register_buffer(f"{name}_{part}", torch.from_numpy(array), persistent=False)

    def forward(self, g: Tensor) -> Tensor:
        """C g, (width, c) to (rows, c)."""
        return self._matrix("rows", self.size) @ g

    def transposed(self, y: Tensor) -> Tensor:
        """C^T y, (rows, c) to (width, c)."""
        return self._matrix("columns", self.size[::-1]) @ y

    def _matrix(self, name: str, size: tuple[int, ...]) -> Tensor:
        _accept_beta()
        pointers, indices, values = (self.get_buffer(f"{name}_{part}") for part in ("pointers", "indices", "values"))
        return torch.sparse_csr_tensor(pointers, indices, values, size, check_invariants=False)


@cache
def _accept_beta() -> None:
    """Take torch's one notice that compressed rows are in beta state here, where it tells a user nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.sparse_csr_tensor(torch.tensor([0, 0]), torch.tensor([], dtype=torch.int64), torch.tensor([]), (1, 1))
