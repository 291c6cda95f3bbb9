"""What a transformer block and its loss must do under every strategy, as programs for simulated ranks and real MPI."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

import parallel
from parallel.attention.local import Attention
from parallel.parameters import feature_columns
from parallel.strategies import sum_gradients
from parallel_claims import WAYS, Case, any_lengths

CLASSES = 5


@dataclass(frozen=True)
class Whole:
    """A batch, the parameters of a block and of a head of classes, and what one rank makes of them."""

    x: np.ndarray
    labels: np.ndarray
    parameters: dict[str, np.ndarray]
    head: np.ndarray
    loss: float
    d_x: np.ndarray
    gradients: dict[str, np.ndarray]


def sizes_of(case: Case) -> parallel.BlockSizes:
    """Return the sizes of the block of a case."""
    hidden = case.heads * case.head_dim
    return parallel.BlockSizes(hidden=hidden, heads=case.heads, kv_heads=case.kv_heads, ffn=2 * hidden + 1)


def train(
    comm: Any, strategy: Any, parameters: Any, head: np.ndarray, x: np.ndarray, labels: np.ndarray,
    loss: Callable[..., Any] = parallel.mean_token_loss, forward: Callable[..., Any] = parallel.block,
) -> tuple[float, np.ndarray, dict[str, np.ndarray]]:  # fmt: skip
    """Return the loss, the gradient of x and those of all parameters; comm: None if this rank has all tokens."""
    y, saved = forward(strategy, parameters, x)
    value, d_logits = loss(comm, y @ head, labels)
    d_x, gradients = parallel.block_backward(strategy, parameters, saved, d_logits @ head.T)
    gradients = strategy.finish(gradients)
    of_head = {"head": y.reshape(-1, y.shape[2]).T @ d_logits.reshape(-1, CLASSES)}
    return value, d_x, gradients | (of_head if comm is None else sum_gradients(comm, of_head))


@cache
def whole(case: Case) -> Whole:
    """Return the batch of a case, and what one rank makes of it."""
    rng, sizes = np.random.default_rng(case.seed), sizes_of(case)
    x = rng.standard_normal((case.batch, case.n, sizes.hidden)).astype(case.dtype)
    parameters = parallel.random_parameters(rng, sizes, case.dtype)
    head = rng.standard_normal((sizes.hidden, CLASSES)).astype(case.dtype)
    labels = rng.integers(-1, CLASSES, (case.batch, case.n))
    labels[:, 0] = 0  # one that counts, whatever was drawn
    alone = parallel.SequenceSharded(None, sizes, dense(case.causal))
    return Whole(x, labels, parameters, head, *train(None, alone, parameters, head, x, labels))


def dense(causal: bool) -> Attention:
    """Return the dense reference."""

    def forward(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, Any]:
        return parallel.attention(q, k, v, causal=causal), (q, k, v)

    def backward(saved: Any, d_out: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return parallel.attention_backward(*saved, d_out, causal=causal)

    return Attention(forward, backward)


# -- strategies: (comm, case) -> (strategy, this rank's tokens, comm of the loss) -------------------------------------


def sharded(way: str) -> Callable[..., Any]:
    """Return the strategy whose attention is one of the WAYS."""

    def strategy(comm: Any, case: Case) -> Any:
        mine, make = WAYS[way](comm, case)
        return parallel.SequenceSharded(comm, sizes_of(case), make(None)), mine, comm

    return strategy


def tensor(comm: Any, case: Case) -> Any:
    """Megatron: all tokens on every rank."""
    attention = parallel.local_attention(causal=case.causal)
    return parallel.TensorParallel(comm, sizes_of(case), attention), np.arange(case.n), None


def sequence(comm: Any, case: Case) -> Any:
    """Megatron with sequence parallelism over shards of any lengths."""
    mine, attention = any_lengths(comm, case), parallel.local_attention(causal=case.causal)
    keep_gathered = bool(case.seed % 2)
    strategy = parallel.SequenceParallel(comm, sizes_of(case), attention, tokens=len(mine), keep_gathered=keep_gathered)
    return strategy, mine, comm


STRATEGIES: dict[str, Callable[..., Any]] = {
    **{way: sharded(way) for way in WAYS},
    "tensor_parallel": tensor,
    "sequence_parallel": sequence,
}


def part_of(strategy: Any, name: str, array: np.ndarray, columns: dict[str, np.ndarray]) -> np.ndarray:
    """Return the part of a parameter, or of its gradient, that this rank has."""
    if not isinstance(strategy, parallel.TensorParallel):
        return array
    kind = {"w_out": ("out", 0), "w_down": ("up", 0)}.get(name)
    if name in ("w_qkv", "b_qkv", "w_up", "b_up"):
        kind = (name[2:], array.ndim - 1)
    return array if kind is None else np.take(array, columns[kind[0]], kind[1])


def claim_equals_one_rank(comm: Any, case: Case, make: Callable[..., Any], **wrong: Callable[..., Any]) -> None:
    """Loss, gradient of x and gradients of all parameters are those that one rank gets from the whole batch."""
    every = whole(case)
    strategy, mine, loss_comm = make(comm, case)
    columns = feature_columns(sizes_of(case), comm.size, comm.rank)
    parameters = {name: part_of(strategy, name, array, columns) for name, array in every.parameters.items()}
    if isinstance(strategy, parallel.TensorParallel):
        parameters = parallel.split_parameters(every.parameters, sizes_of(case), comm.size, comm.rank)
    value, d_x, gradients = train(
        loss_comm, strategy, parameters, every.head, every.x[:, mine], every.labels[:, mine], **wrong
    )
    # Some thousand operations lie between an input and a gradient, most of them sums that keep errors relative.
    eps = float(np.finfo(case.dtype).eps)
    allowed = 2000 * eps * max(1.0, float(abs(every.loss)), *(float(abs(g).max()) for g in every.gradients.values()))
    pairs = {"loss": (value, every.loss), "d_x": (d_x, every.d_x[:, mine])}
    for name, expected in every.gradients.items():
        pairs[name] = gradients[name], part_of(strategy, name, expected, columns)
    assert gradients.keys() == every.gradients.keys()
    for name, (got, expected) in pairs.items():
        assert np.shape(got) == np.shape(expected), f"{name}: got {np.shape(got)}, expected {np.shape(expected)}"
        error = float(np.abs(got - expected).max(initial=0))
        assert error <= allowed, f"{name}: off by {error}, {allowed} allowed"


def claim_softmax_of_each_token(loss: Callable[..., Any]) -> None:
    """A token whose logits are all far below those of another keeps its softmax."""
    logits = np.array([[[1e4, 0.0], [-1e4, -1e4]]])
    value, d_logits = loss(None, logits, np.array([[0, 1]]))
    assert abs(value - np.log(2) / 2) < 1e-12, f"got {value}"
    np.testing.assert_allclose(d_logits, [[[0, 0], [0.25, -0.25]]])


def cases() -> list[Case]:
    """Return blocks whose tokens, heads and MLP do not divide by the ranks, some with shared K/V heads."""
    return [
        Case(8, heads=4, kv_heads=4, causal=True, seed=1),
        Case(7, heads=3, kv_heads=3, batch=2, seed=2),
        Case(9, heads=4, kv_heads=2, causal=True, batch=2, overlap=False, seed=3),
        Case(6, heads=2, kv_heads=1, head_dim=4, seed=4),
        Case(10, heads=6, kv_heads=2, head_dim=2, causal=True, dtype="f4", seed=5),
        Case(1, heads=2, kv_heads=2, seed=6),
    ]
