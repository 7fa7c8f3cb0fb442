"""Embeddings to begin with, from counts of neighbors: a large vocabulary then needs far fewer training steps"""

from collections.abc import Iterable

import numpy as np

from numpylm.nn.module import Array

WINDOW = 2  # neighbors up to this distance are counted
POWER = 0.75  # of the frequencies of the neighbors, as in Levy et al. 2015
OVERSAMPLED = 16  # more directions than are kept, as in Halko et al. 2011
ROUNDS = 3  # of the power iteration
LARGEST = 10_000  # tokens; the table of all pairs takes 4 V² bytes, 400 MB for this many


def count_embeddings(texts: Iterable[Array], V: int, C: int, std: float, rng: np.random.Generator) -> Array:
    """Embeddings (V, C) from how often tokens stand near each other: tokens with similar neighbors are similar.

    With n(a, b) the number of times that a and b are neighbors, each counted 1 / distance, the positive pointwise
    mutual information is (Levy, Goldberg and Dagan 2015, TACL 3, sections 2 and 3)

        M_ab = max(0, log n(a, b) - log n(a) - log q(b)),     q(b) ∝ n(b)^0.75.

    M ≈ U S Vᵀ with C directions is found with a random projection and a power iteration (Halko, Martinsson and Tropp
    2011, algorithm 4.4). The embeddings are U √S, rotated at random, so that no channel stands out, and scaled.

    Parameters
    ----------
    texts : iterable of int arrays (T,)
    V, C : int
        Tokens and channels, with C + 16 <= V.
    std : float
        The standard deviation of the result.
    rng : numpy.random.Generator

    Returns
    -------
    float32 array (V, C)
    """
    M = _mutual_information(texts, V)
    basis = np.linalg.qr(M @ rng.standard_normal((V, C + OVERSAMPLED), np.float32))[0]  # (V, C + 16)
    for _ in range(ROUNDS):
        basis = np.linalg.qr(M @ (M @ basis))[0]
    U, S, _ = np.linalg.svd(basis.T @ M, full_matrices=False)
    E = (basis @ U)[:, :C] * np.sqrt(S[:C])  # (V, C)
    E = E @ np.linalg.qr(rng.standard_normal((C, C), np.float32))[0]
    return np.asarray(E * (std / E.std()), np.float32)


def _mutual_information(texts: Iterable[Array], V: int) -> Array:
    """M (V, V) of `count_embeddings`."""
    n = np.zeros((V, V), np.float32)
    for ids in texts:
        for distance in range(1, WINDOW + 1):
            np.add.at(n, (ids[:-distance], ids[distance:]), 1 / distance)
    n += n.T.copy()
    total = n.sum(axis=1)  # (V,)
    q = total**POWER / (total**POWER).sum()
    a, b = np.nonzero(n)
    n[a, b] = np.maximum(np.log(n[a, b] / (total[a] * q[b])), 0)
    return n
