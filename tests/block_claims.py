"""What a transformer block and its loss must do under every strategy, as programs for simulated ranks and real MPI."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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


def parameters_of(comm: Any, strategy: Any, case: Case) -> dict[str, np.ndarray]:
    """Return the parameters that this rank has."""
    every = whole(case).parameters
    if not isinstance(strategy, parallel.TensorParallel):
        return every
    return parallel.split_parameters(every, sizes_of(case), comm.size, comm.rank)


def claim_equals_one_rank(comm: Any, case: Case, make: Callable[..., Any], **wrong: Callable[..., Any]) -> None:
    """Loss, gradient of x and gradients of all parameters are those that one rank gets from the whole batch."""
    every = whole(case)
    strategy, mine, loss_comm = make(comm, case)
    columns = feature_columns(sizes_of(case), comm.size, comm.rank)
    parameters = parameters_of(comm, strategy, case)
    value, d_x, gradients = train(
        loss_comm, strategy, parameters, every.head, every.x[:, mine], every.labels[:, mine], **wrong
    )
    allowed = allowed_error(case)
    pairs = {"loss": (value, every.loss), "d_x": (d_x, every.d_x[:, mine])}
    for name, expected in every.gradients.items():
        pairs[name] = gradients[name], part_of(strategy, name, expected, columns)
    assert gradients.keys() == every.gradients.keys()
    for name, (got, expected) in pairs.items():
        assert np.shape(got) == np.shape(expected), f"{name}: got {np.shape(got)}, expected {np.shape(expected)}"
        error = float(np.abs(got - expected).max(initial=0))
        assert error <= allowed, f"{name}: off by {error}, {allowed} allowed"


def allowed_error(case: Case) -> float:
    """Return how far a gradient may be off.

    Some thousand operations lie between an input and a gradient, most of them sums that keep errors relative.
    """
    every = whole(case)
    largest = max(1.0, float(abs(every.loss)), *(float(abs(g).max()) for g in every.gradients.values()))
    return 2000 * float(np.finfo(case.dtype).eps) * largest


def arrays_in(thing: Any) -> Iterator[np.ndarray]:
    """Yield the arrays in what a block keeps."""
    if isinstance(thing, np.ndarray):
        yield thing
    elif isinstance(thing, dict):
        yield from arrays_in(list(thing.values()))
    elif isinstance(thing, (list, tuple)):
        for each in thing:
            yield from arrays_in(each)


def claim_weights_may_wait(
    comm: Any, case: Case, make: Callable[..., Any],
    input_half: Callable[..., Any] = parallel.block_input_backward,
) -> None:  # fmt: skip
    """The weight half may run after other input halves, and after d_x and all that does not wait were overwritten."""
    strategy, mine, _ = make(comm, case)
    parameters, x = parameters_of(comm, strategy, case), whole(case).x[:, mine]
    d_y = np.random.default_rng(comm.rank).standard_normal(x.shape).astype(x.dtype)
    _, saved = parallel.block(strategy, parameters, x)
    d_x, at_once = parallel.block_backward(strategy, parameters, saved, d_y)
    halves = []
    for factor in (1, 2):
        _, saved = parallel.block(strategy, parameters, x)
        d_x_first, waiting = input_half(strategy, parameters, saved, factor * d_y)
        np.testing.assert_array_equal(d_x_first, factor * d_x)
        d_x_first[...] = np.nan
        for array in arrays_in(saved):
            if not any(np.shares_memory(array, other) for other in (x, *arrays_in(waiting))):
                array[...] = np.nan
        halves.append(waiting)
    for factor, waiting in ((2, halves[1]), (1, halves[0])):  # doubled, each number is exactly twice as large
        later = parallel.block_weight_backward(strategy, waiting)
        assert later.keys() == at_once.keys()
        for name in later:
            np.testing.assert_array_equal(later[name], factor * at_once[name], err_msg=name)


def added(so_far: dict[str, np.ndarray], more: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return gradients with those of one more use, or microbatch, of the same parameters."""
    return so_far | {name: so_far.get(name, 0) + each for name, each in more.items()}


def claim_gradients_of_a_step(comm: Any, case: Case, make: Callable[..., Any], finishes: int = 1) -> None:
    """Gradients of one sequence a microbatch, summed over ranks once, are those that one rank gets from the batch.

    finishes: how often they are summed, all but the last time for its messages only.
    """
    every = whole(case)
    strategy, mine, loss_comm = make(comm, case)
    parameters, labels = parameters_of(comm, strategy, case), every.labels[:, mine]
    total = parallel.count_tokens(loss_comm, labels)
    gradients: dict[str, np.ndarray] = {}
    for b in range(case.batch):
        y, saved = parallel.block(strategy, parameters, every.x[b : b + 1, mine])
        _, d_logits = parallel.vocabulary_loss(None, y @ every.head, 0, labels[b : b + 1], total)
        _, more = parallel.block_backward(strategy, parameters, saved, d_logits @ every.head.T)
        gradients = added(gradients, {f"block7.{name}": each for name, each in more.items()})
    summed = [strategy.finish(gradients) for _ in range(finishes)][-1]
    columns = feature_columns(sizes_of(case), comm.size, comm.rank)
    for name, expected in every.gradients.items():
        if name == "head":
            continue
        error = abs(summed[f"block7.{name}"] - part_of(strategy, name, expected, columns)).max(initial=0)
        assert error <= allowed_error(case), f"{name}: off by {error}"


def claim_parameters_used_twice(add: Callable[..., Any] = added) -> None:
    """A block that runs twice, and a table that is embedding and head, get the gradients of both uses, each once."""
    case, rng = Case(2, heads=1, kv_heads=1, head_dim=2, causal=True), np.random.default_rng(5)
    strategy = parallel.SequenceSharded(None, sizes_of(case), dense(case.causal))
    parameters = parallel.random_parameters(rng, strategy.sizes) | {"table": rng.standard_normal((3, 2))}
    tokens, labels = np.array([[2, 0]]), np.array([[0, 1]])

    def forward() -> Any:
        once, saved_once = parallel.block(strategy, parameters, parallel.embed(parameters["table"], 0, tokens))
        twice, saved_twice = parallel.block(strategy, parameters, once)
        loss, d_logits = parallel.vocabulary_loss(None, twice @ parameters["table"].T, 0, labels, 2)
        return loss, d_logits, twice, saved_twice, saved_once

    _, d_logits, y, *saved = forward()
    gradients = add({}, {"table": d_logits[0].T @ y[0]})
    d_x, waiting = d_logits @ parameters["table"], []
    for each in saved:
        d_x, half = parallel.block_input_backward(strategy, parameters, each, d_x)
        waiting.append(half)
    for half in waiting:
        gradients = add(gradients, parallel.block_weight_backward(strategy, half))
    gradients = add(gradients, {"table": parallel.embed_backward(3, 0, tokens, d_x)})
    for name, array in parameters.items():
        expected = numeric(lambda: forward()[0], array)
        np.testing.assert_allclose(gradients[name], expected, atol=1e-8, err_msg=f"{name} off by")


def claim_softmax_of_each_token(loss: Callable[..., Any]) -> None:
    """A token whose logits are all far below those of another keeps its softmax."""
    logits = np.array([[[1e4, 0.0], [-1e4, -1e4]]])
    value, d_logits = loss(None, logits, np.array([[0, 1]]))
    assert abs(value - np.log(2) / 2) < 1e-12, f"got {value}"
    np.testing.assert_allclose(d_logits, [[[0, 0], [0.25, -0.25]]])


def numeric(function: Any, x: np.ndarray) -> np.ndarray:
    """Return the gradient of a function of x by central differences, changing x in place and back."""
    gradient, step = np.empty_like(x), 1e-5
    for index in np.ndindex(x.shape):
        kept = x[index]
        x[index] = kept + step
        above = function()
        x[index] = kept - step
        gradient[index] = (above - function()) / (2 * step)
        x[index] = kept
    return gradient


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
