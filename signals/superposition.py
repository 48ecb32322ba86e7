"""A layer's output as a superposition over K named actions, and how two layers depend on
each other (SPEC section 5): batched, in float64, on numpy.

Amplitudes psi have unit norm and p = |psi|^2; a categorical policy gives psi = sqrt(p). The
measures are those of quantum information theory (Nielsen and Chuang, "Quantum Computation
and Quantum Information", 2000, sections 2.5 and 11.3), used here as plain statistics of
distributions: nothing below claims more of them. Entropies are in nats.

Every row of a batch is worked out alone, so that a batch gives what its rows give. Rows that
sum to 1 but for the rounding of float32 are taken, and divided by their sum.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from configs.errors import ActionError
from market.kernels import inlined, kernel
from market.random import PURPOSE_COLLAPSE, stream_key, uniform
from signals.upstream import CONFIDENT

Floats = NDArray[np.float64]

# The superposition that a directional layer hands to the next one.
DIRECTIONS = ("SELL", "HOLD", "BUY")
SELL, HOLD, BUY = range(len(DIRECTIONS))

SUM_TOLERANCE = 1e-5  # of a row's sum about 1: probabilities may come from float32
# An entropy below this counts as 0: its ratio to another would be rounding.
ENTROPY_FLOOR = 1e-9
_SWEEPS = 30  # of Jacobi's rotations; a handful does, since they converge quadratically


def amplitudes(p: ArrayLike) -> NDArray[np.complex128]:
    """psi = sqrt(p), of phase 0, [N, K].

    Args:
        p: [N, K], rows that sum to 1.

    Raises:
        ActionError: p is no batch of distributions; so do all functions below.
    """
    return np.sqrt(distributions(p)).astype(np.complex128)


def probabilities(psi: ArrayLike) -> Floats:
    """p = |psi|^2, [N, K], of amplitudes [N, K] of unit norm."""
    return distributions(np.abs(np.asarray(psi, np.complex128)) ** 2, "|psi|^2")


def confidence(p: ArrayLike, temperature: float = 1.0) -> Floats:
    """max p, [N], from 1 / K to 1.

    Args:
        p: [N, K].
        temperature: as fitted to what came true (`policies.calibration`): of p to the power of
            1 / temperature, divided by its sum. Which action is the likeliest never changes.

    Raises:
        ActionError: see `amplitudes`; the temperature is not above 0.
    """
    clean = distributions(p)
    top = clean.max(axis=1)
    if temperature == 1.0:
        return np.asarray(top)
    if not 0.0 < temperature < np.inf:
        raise ActionError(f"temperature is {temperature}: expected a finite number above 0")
    return np.asarray(1.0 / ((clean / top[:, None]) ** (1.0 / temperature)).sum(axis=1))


def entropy(p: ArrayLike) -> Floats:
    """H(p) = -sum p ln p, [N], nats, from 0 to ln K."""
    return _entropy(distributions(p))


def coherence(p: ArrayLike) -> Floats:
    """1 - H(p) / ln K, [N]: 0 of the uniform distribution, 1 of a certain action."""
    clean = distributions(p)
    return np.clip(1.0 - _entropy(clean) / np.log(clean.shape[1]), 0.0, 1.0)


def purity(p: ArrayLike) -> Floats:
    """sum p^2, [N], from 1 / K to 1."""
    return np.asarray((distributions(p) ** 2).sum(axis=1))


def participation(p: ArrayLike) -> Floats:
    """1 / purity, [N]: how many actions take part, from 1 to K."""
    return 1.0 / purity(p)


def joint_amplitudes(p: ArrayLike, q: ArrayLike) -> Floats:
    """Psi_ij = sqrt(p_i q(j | i)), [N, K, L]; its squares are the joint distribution.

    Args:
        p: [N, K], of the upper layer.
        q: [N, K, L], of the lower layer, row i given the upper one's action i for certain.
    """
    upper = distributions(p)
    lower = np.asarray(q, np.float64)
    if lower.ndim != 3 or lower.shape[:2] != upper.shape:
        raise ActionError(
            f"q has shape {lower.shape}, expected {(*upper.shape, 'L')}: one distribution of the "
            "lower layer for each action of the upper one"
        )
    rows = distributions(lower.reshape(-1, lower.shape[2]), "q, by rows of [N K, L],")
    return np.sqrt(upper[:, :, None] * rows.reshape(lower.shape))


def schmidt_entropy(joint: ArrayLike) -> Floats:
    """S = -sum s_i^2 ln s_i^2 over the singular values s of each Psi, [N], nats.

    Args:
        joint: Psi, [N, K, L], real or complex, each of unit norm.
    """
    psi = np.asarray(joint)
    if psi.ndim != 3 or min(psi.shape[1:]) < 1:
        raise ActionError(f"joint amplitudes have shape {psi.shape}, expected [N, K, L]")
    distributions(np.abs(psi.reshape(len(psi), -1)) ** 2, "the squares of joint amplitudes")
    squares = np.linalg.svd(psi, compute_uv=False) ** 2
    return _entropy(squares / squares.sum(axis=1, keepdims=True))


def entanglement(p: ArrayLike, q: ArrayLike) -> Floats:
    """E = S / min(H_p, H_q), [N]: 0 of independent layers, 1 of full dependence.

    H_q is the entropy of what the lower layer does on the whole, sum_i p_i q(j | i). E
    lies in [0, 1]: the squared singular values majorise either layer's distribution, which
    is the diagonal of its reduced density matrix (Schur). It is 0 where either entropy is
    (below `ENTROPY_FLOOR`): what is certain depends on nothing.

    Args:
        p, q: see `joint_amplitudes`.
    """
    upper, lower = np.asarray(p, np.float64), np.asarray(q, np.float64)
    fits = upper.ndim == 2 and lower.ndim == 3 and lower.shape[:2] == upper.shape
    out = np.empty(len(upper) if fits else 0)
    if not fits or min(lower.shape[1:]) < 2 or not _entangle(upper, lower, out):
        joint_amplitudes(upper, lower)
        raise ActionError("distributions of which nothing can be said: expected finite numbers")
    return out


@kernel
def _entangle(p: Any, q: Any, out: Any) -> bool:
    """Write `entanglement`; False where a row is no distribution.

    In one pass, for loops that ask of a row at a time: to rounding (by test), what
    `joint_amplitudes` and `schmidt_entropy` come to.
    """
    count, width = q.shape[1], q.shape[2]
    upper, lower = np.empty(count), np.empty((count, width))
    for n in range(len(p)):
        good = _take_distribution(p[n], upper)
        for i in range(count):
            good = good and _take_distribution(q[n, i], lower[i])
        if not good:
            return False
        below = np.zeros(width)
        for i in range(count):
            for j in range(width):
                below[j] += upper[i] * lower[i, j]
        least = min(_entropy_of(upper), _entropy_of(below))
        if least <= ENTROPY_FLOOR:
            out[n] = 0.0
            continue
        # Squares of Psi's singular values: the upper layer's reduced density matrix has them.
        density = np.zeros((count, count))
        for i in range(count):
            for k in range(i, count):
                for j in range(width):
                    density[i, k] += math.sqrt(upper[i] * lower[i, j] * upper[k] * lower[k, j])
                density[k, i] = density[i, k]
        _diagonalise(density)
        squares = np.empty(count)
        for i in range(count):
            squares[i] = max(density[i, i], 0.0)
        out[n] = min(max(_entropy_of(squares / squares.sum()) / least, 0.0), 1.0)
    return True


@inlined
def _take_distribution(given: Any, out: Any) -> bool:
    """Copy a row that sums to 1 but for rounding, divided by its sum; False where it does not."""
    total, good = 0.0, True
    for index in range(len(given)):
        good = good and 0.0 <= given[index] < math.inf
        total += given[index]
    good = good and abs(total - 1.0) <= SUM_TOLERANCE
    for index in range(len(given)):
        out[index] = given[index] / total
    return good


@inlined
def _entropy_of(p: Any) -> float:
    total = 0.0
    for index in range(len(p)):
        total -= p[index] * math.log(p[index]) if p[index] > 0.0 else 0.0
    return max(total, 0.0)


@inlined
def _diagonalise(matrix: Any) -> None:
    """Bring a symmetric matrix to its eigenvalues, on the diagonal.

    Cyclic Jacobi rotations (Golub and Van Loan, "Matrix Computations", 4th edition, 8.5).
    """
    size = len(matrix)
    for _ in range(_SWEEPS):
        off = 0.0
        for i in range(size):
            for j in range(i + 1, size):
                off += matrix[i, j] ** 2
        if off == 0.0:
            return
        for i in range(size):
            for j in range(i + 1, size):
                if matrix[i, j] == 0.0:
                    continue
                tau = (matrix[j, j] - matrix[i, i]) / (2.0 * matrix[i, j])
                t = math.copysign(1.0, tau) / (abs(tau) + math.sqrt(1.0 + tau * tau))
                cosine = 1.0 / math.sqrt(1.0 + t * t)
                sine = t * cosine
                for k in range(size):
                    left, right = matrix[k, i], matrix[k, j]
                    matrix[k, i] = cosine * left - sine * right
                    matrix[k, j] = sine * left + cosine * right
                for k in range(size):
                    left, right = matrix[i, k], matrix[j, k]
                    matrix[i, k] = cosine * left - sine * right
                    matrix[j, k] = sine * left + cosine * right
                matrix[i, j] = matrix[j, i] = 0.0


def collapse(p: ArrayLike, seeds: ArrayLike, steps: ArrayLike) -> NDArray[np.int64]:
    """One action of each row, int64 [N]: the likeliest at confidence `CONFIDENT`, else a sample.

    A sample is keyed by its row's (seed, step) and by nothing else: it is the same again,
    alone, in any batch and in any order.

    Args:
        p: [N, K].
        seeds: [N] or one for all, 0 to 2^64 - 1: of the episode.
        steps: [N] or one for all: number of the decision in the episode, 0 or above.
    """
    clean = distributions(p)
    keys = _keys(seeds, len(clean), "seeds", np.uint64)
    counters = _keys(steps, len(clean), "steps", np.int64)
    out = np.empty(len(clean), np.int64)
    _collapse(clean, keys, counters, out)
    return out


def directions(
    p: ArrayLike, change: ArrayLike, weights: ArrayLike, legal: ArrayLike | None = None
) -> Floats:
    """A layer's superposition over `DIRECTIONS`, [N, 3]: what the next layer sees.

    The weighted mean of its directional agents' masked probabilities, each action counted
    by the sign of the position change it would make (SPEC section 1): an action that changes
    nothing, such as BUY at the limit, counts as HOLD. Where all weights are 0 nobody is
    followed, and the layer holds for certain.

    Args:
        p: [N, A, K], of A directional agents over K actions.
        change: [N, K], position after each action less position before it, any unit.
        weights: [A] or [N, A], 0 or above, divided by their sum here.
        legal: bool [N, K], the action mask; the illegal are left out and the rest scaled up.
    """
    values = np.asarray(p, np.float64)
    if values.ndim != 3:
        raise ActionError(f"probabilities have shape {values.shape}, expected [N, A, K]")
    n, agents, actions = values.shape
    clean = distributions(values.reshape(n * agents, actions)).reshape(values.shape)
    moves = np.asarray(change, np.float64)
    if moves.shape != (n, actions) or not np.isfinite(moves).all():
        raise ActionError(
            f"change has shape {moves.shape}, expected finite numbers of shape {(n, actions)}"
        )
    shares = _weights(weights, n, agents)
    if legal is not None:
        mask = np.asarray(legal)
        if mask.shape != (n, actions):
            raise ActionError(f"legal has shape {mask.shape}, expected {(n, actions)}")
        clean = masked(clean, mask[:, None, :])
    mean = (shares[:, :, None] * clean).sum(axis=1)
    out = np.empty((n, len(DIRECTIONS)))
    for column, sign in ((SELL, -1.0), (HOLD, 0.0), (BUY, 1.0)):
        out[:, column] = np.where(np.sign(moves) == sign, mean, 0.0).sum(axis=1)
    out[shares.sum(axis=1) == 0.0] = np.eye(len(DIRECTIONS))[HOLD]
    return out


def masked(p: ArrayLike, legal: ArrayLike) -> Floats:
    """p [..., K] with the illegal actions at 0 and the others scaled to sum to 1.

    Args:
        legal: bool, of a shape that broadcasts to p's.
    """
    values, mask = np.asarray(p, np.float64), np.asarray(legal)
    if mask.dtype != np.bool_:
        raise ActionError(f"the action mask is {mask.dtype}, expected bool")
    try:
        kept = np.where(mask, values, 0.0)
    except ValueError:
        raise ActionError(
            f"the action mask has shape {mask.shape}, which does not fit {values.shape}"
        ) from None
    total = kept.sum(axis=-1, keepdims=True)
    if not (total > 0.0).all():
        row = np.argwhere(~(total[..., 0] > 0.0))[0].tolist()
        raise ActionError(
            f"probabilities in row {row}: none is above 0 among the legal actions; mask the "
            "logits before the softmax, and leave one action legal"
        )
    return kept / total


def distributions(p: ArrayLike, name: str = "probabilities") -> Floats:
    """p as float64 [N, K], each row divided by its sum, which is 1 but for rounding.

    Raises:
        ActionError: not of shape [N, K] with K of 2 or more, a number that is not finite or
            below 0, or a row that does not sum to 1.
    """
    values = np.asarray(p, np.float64)
    if values.ndim != 2 or values.shape[1] < 2:
        raise ActionError(f"{name} have shape {values.shape}, expected [N, K] with K >= 2")
    wrong = ~(np.isfinite(values) & (values >= 0.0))
    if wrong.any():
        row, column = (int(index[0]) for index in np.nonzero(wrong))
        raise ActionError(
            f"{name}[{row}, {column}] is {values[row, column]}: expected a number from 0 to 1"
        )
    total = values.sum(axis=1, keepdims=True)
    off = np.abs(total[:, 0] - 1.0) > SUM_TOLERANCE
    if off.any():
        row = int(np.flatnonzero(off)[0])
        raise ActionError(
            f"{name}[{row}] sum to {total[row, 0]:g}, expected 1: give probabilities, not logits"
        )
    return np.ascontiguousarray(values / total)


def _entropy(p: Floats) -> Floats:
    logs = np.log(np.where(p > 0.0, p, 1.0))
    return np.maximum(-(p * logs).sum(axis=1), 0.0)


def _weights(weights: ArrayLike, n: int, agents: int) -> Floats:
    """[N, A], rows that sum to 1, or to 0 where all weights are 0."""
    values = np.asarray(weights, np.float64)
    if values.shape not in ((agents,), (n, agents)):
        raise ActionError(
            f"weights have shape {values.shape}, expected {(agents,)} or {(n, agents)}"
        )
    if not (np.isfinite(values) & (values >= 0.0)).all():
        raise ActionError(f"weights are {values.tolist()}: expected finite numbers, 0 or above")
    rows = np.broadcast_to(values, (n, agents))
    total = rows.sum(axis=1, keepdims=True)
    return rows / np.where(total > 0.0, total, 1.0)


def _keys(given: ArrayLike, count: int, name: str, kind: type[np.generic]) -> NDArray[Any]:
    values = np.asarray(given)
    if values.dtype.kind not in "iu" or values.shape not in ((), (count,)):
        raise ActionError(
            f"{name} are {values.dtype} of shape {values.shape}, expected whole numbers of shape "
            f"{(count,)}, or one"
        )
    if values.size and values.min() < 0:
        raise ActionError(f"{name} hold {values.min()}: expected 0 or above")
    return np.ascontiguousarray(np.broadcast_to(values, (count,)).astype(kind))


@inlined
def collapse_row(p: Floats, seed: np.uint64, step: int) -> int:
    """`collapse` of one distribution [K], for kernels; p is taken as it is."""
    best = 0
    for index in range(1, len(p)):
        if p[index] > p[best]:
            best = index
    if p[best] >= CONFIDENT:
        return best
    left = uniform(stream_key(seed, step, PURPOSE_COLLAPSE), 0)
    for index in range(len(p)):
        left -= p[index]
        if left < 0.0:
            return index
    return best  # rounding left a crumb above the last one


@kernel
def _collapse(
    p: Floats, seeds: NDArray[np.uint64], steps: NDArray[np.int64], out: NDArray[np.int64]
) -> None:
    for row in range(len(out)):
        out[row] = collapse_row(p[row], seeds[row], steps[row])
