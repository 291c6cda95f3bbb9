"""What a mixture of experts must do, as programs for simulated ranks and real MPI: what a loop over tokens does."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np

import parallel
from collectives.arrays import block_bounds
from parallel.block import Waiting, mlp, mlp_backward

HIDDEN, FFN, SHARED = 6, 7, 5


@dataclass(frozen=True)
class Case:
    """Sequences of n tokens, and the experts; ep, cp, tp ranks share them out, sequences, tokens and features."""

    routing: parallel.Routing
    n: int = 7
    sequences: int = 5
    shared: bool = False
    ep: int = 1
    cp: int = 1
    tp: int = 1
    sp: bool = False
    layout: str = "zigzag"
    dtype: str = "f8"
    seed: int = 0

    @property
    def ranks(self) -> int:
        return self.ep * self.cp * self.tp


def whole(case: Case) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Return all parameters, the tokens, and weights whose product with the output stands for a loss."""
    rng = np.random.default_rng([case.seed, case.n, case.sequences])
    n, experts = case.n, case.routing.experts
    shapes = {"w_router": (HIDDEN, experts)}
    for e in range(experts):
        shapes |= {f"{e}.w_up": (HIDDEN, FFN), f"{e}.w_down": (FFN, HIDDEN)}
    if case.shared:
        shapes |= {"w_up": (HIDDEN, SHARED), "b_up": (SHARED,), "w_down": (SHARED, HIDDEN), "b_down": (HIDDEN,)}
    parameters = {name: rng.standard_normal(shape).astype(case.dtype) for name, shape in shapes.items()}
    x, d_y = rng.standard_normal((2, case.sequences, n, HIDDEN)).astype(case.dtype)
    return parameters, x, d_y


def by_loop(case: Case, parameters: dict[str, np.ndarray], x: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Return the output and both losses, token by token as the definitions say."""
    routing, y = case.routing, np.zeros_like(x)
    balance = z = 0.0
    capacity = math.inf if routing.capacity_factor is None else routing.capacity(case.n)
    for sequence, out in zip(x, y, strict=True):
        asked, taken = np.zeros(routing.experts), np.zeros(routing.experts)
        mean = np.zeros(routing.experts)
        for token, vector in enumerate(sequence):
            logits = vector @ parameters["w_router"]
            chances = np.exp(logits) / np.exp(logits).sum()
            z += np.log(np.exp(logits).sum()) ** 2
            mean += chances / case.n
            for e in sorted(range(routing.experts), key=lambda e: (-logits[e], e))[: routing.top_k]:
                asked[e] += 1
                if taken[e] < capacity:
                    taken[e] += 1
                    active, _ = parallel.layers.gelu(vector @ parameters[f"{e}.w_up"])
                    out[token] += chances[e] * (active @ parameters[f"{e}.w_down"])
            if case.shared:
                active, _ = parallel.layers.gelu(vector @ parameters["w_up"] + parameters["b_up"])
                out[token] += active @ parameters["w_down"] + parameters["b_down"]
        balance += routing.experts * (asked / (routing.top_k * case.n) * mean).sum()
    return y, routing.balance * balance / case.sequences, routing.z_loss * z / (case.sequences * case.n)


@dataclass(frozen=True)
class Made:
    """What ranks make of a case together, or one rank alone."""

    y: np.ndarray
    losses: np.ndarray
    d_x: np.ndarray
    gradients: dict[str, np.ndarray]
    kept: np.ndarray


def program(comm: Any, case: Case, microbatches: int = 1) -> dict[str, Any]:
    """Return what one rank makes of its tokens: places, and what is there."""
    rest, t = divmod(comm.rank, case.tp)
    d, c = divmod(rest, case.cp)
    tensor, expert = comm.Split(rest, t), comm.Split(c * case.tp + t, d)
    context = comm.Split(d * case.tp + t, c)
    positions = parallel.token_positions(case.layout, case.n, case.cp)
    bounds = block_bounds(case.sequences, case.ep)
    mine = np.arange(bounds[d], bounds[d + 1])
    strategy = make_strategy(tensor, case, len(positions[c]))
    experts = parallel.Experts(
        case.routing, positions, case.n * case.sequences, comm=expert, context=context, leads=t == 0
    )
    columns = {n: slice(*block_bounds(n, case.tp)[t : t + 2]) for n in (FFN, SHARED)}
    parameters, x, d_y = whole(case)
    held = {
        name: each[part_of(name, columns)] for name, each in parameters.items()
        if "." not in name or int(name.partition(".")[0]) in experts.here
    }  # fmt: skip
    at = positions[c]
    if case.sp and case.tp > 1:
        at = at[slice(*block_bounds(len(at), case.tp)[t : t + 2])]
    y, d_x = np.zeros_like(x), np.zeros_like(x)
    gradients: dict[str, np.ndarray] = {}
    for some in np.array_split(mine, microbatches):
        place = np.ix_(some, at)
        y[place], saved = mlp(strategy, held, x[place], experts)
        waiting = Waiting({}, {})
        d_x[place] = mlp_backward(strategy, held, saved, d_y[place], experts, waiting)
        for name, each in parallel.block_weight_backward(strategy, waiting).items():
            gradients[name] = gradients.get(name, 0) + each
    gradients = strategy.finish(gradients)
    assert gradients.keys() == held.keys()
    full = {}
    for name, each in gradients.items():
        full[name] = np.zeros_like(parameters[name])
        replicated = name in ("w_router", "b_down")
        if not replicated or t == 0:
            full[name][part_of(name, columns)] = each
    counts = t == 0 or case.sp
    losses = np.array([[load.balance, load.z_loss] for load in experts.loads]).sum(0)
    kept = sum(load.kept for load in experts.loads) * (t == 0)
    return {"y": y * counts, "d_x": d_x * counts, "losses": losses, "gradients": full, "kept": kept}


def make_strategy(tensor: Any, case: Case, n: int) -> Any:
    sizes, attention = parallel.BlockSizes(HIDDEN, 6, 6, SHARED), parallel.local_attention()
    if case.tp == 1:
        return parallel.SequenceSharded(None, sizes, attention)
    if not case.sp:
        return parallel.TensorParallel(tensor, sizes, attention)
    bounds = np.array(block_bounds(n, case.tp))
    lengths = np.diff(bounds).tolist()
    return parallel.SequenceParallel(tensor, sizes, attention, tokens=lengths[tensor.rank], lengths=lengths)


def part_of(name: str, columns: dict[int, slice]) -> Any:
    """Return which part of a parameter a tensor-parallel rank has."""
    width = columns[FFN if "." in name else SHARED]
    kind = name.rpartition(".")[2]
    return {"w_up": (slice(None), width), "b_up": (width,), "w_down": (width,)}.get(kind, (...,))


def added(results: list[dict[str, Any]]) -> Made:
    """Return the sum of what ranks have, each in its place."""
    gradients: dict[str, np.ndarray] = {}
    for each in results:
        for name, gradient in each["gradients"].items():
            gradients[name] = gradients.get(name, 0) + gradient
    return Made(gradients=gradients, **{n: sum(each[n] for each in results) for n in ("y", "losses", "d_x", "kept")})


@cache
def alone(case: Case) -> Made:
    """Return what one rank makes of a case."""
    import ranks

    return added(ranks.run(program, 1, replace(case, ep=1, cp=1, tp=1, sp=False)).results)


def claim_equals_one_rank(results: list[dict[str, Any]], case: Case) -> None:
    """Output, losses and gradients are those of one rank, and so are the tokens that experts had room for."""
    got, expected = added(results), alone(case)
    # Some hundred terms of size one to ten, summed in another order.
    allowed = 3e3 * float(np.finfo(case.dtype).eps)
    for name in ("y", "losses", "d_x"):
        error = abs(getattr(got, name) - getattr(expected, name)).max(initial=0)
        assert error <= allowed, f"{case}: {name} off by {error}"
    assert (got.kept == expected.kept).all(), f"{case}: {got.kept} tokens kept, expected {expected.kept}"
    assert got.gradients.keys() == expected.gradients.keys()
    for name, each in expected.gradients.items():
        error = abs(got.gradients[name] - each).max()
        assert error <= allowed, f"{case}: {name} off by {error}"
