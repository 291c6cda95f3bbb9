"""Experts, forward and backward: a layer between `enter` and `leave` of a block's strategy, as its MLP is.

    whole -> @ w_router -> choice -> dispatch -> @ w_up -> gelu -> @ w_down -> combine, times gates

Expert e has the matrices "e.w_up" and "e.w_down" and no biases. Tensor-parallel ranks have the same tokens, so they
make the same choice; each has some of the features inside of every expert. So the result is this rank's share of the
sum that `leave` takes. So are the gradients of gates, of x and of w_router: `enter_backward` and `finish` sum them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import numpy as np

from collectives.arrays import Array, block_bounds
from parallel.arguments import refuse
from parallel.experts.exchange import Exchange
from parallel.experts.routing import Choice, Routing, losses, route, route_backward
from parallel.layers import gelu, linear, linear_input_backward, rows
from parallel.parameters import Parameters
from parallel.precision import rounded, wide

Products = dict[str, tuple[Array, Array]]


class Load(NamedTuple):
    """What a microbatch asked of the experts: by this rank's tokens, and what the losses of the whole step get."""

    asked: Array
    kept: Array
    balance: float
    z_loss: float


class Saved(NamedTuple):
    """What the input half needs: the choice, the way, rows of this rank's experts, and rows that came back.

    active, slope: what GELU gives; or what goes into it, and None, of which `again` makes them.
    """

    choice: Choice
    exchange: Exchange
    came: Array
    active: Array
    slope: Array | None
    returned: Array

    def again(self) -> Saved:
        """Return the same with what GELU gives."""
        active, slope = gelu(self.active)
        return self._replace(active=active, slope=slope)


class Experts:
    """The experts of one layer, shared out among ranks.

        experts = Experts(Routing(4), [np.arange(5)], total=15)
        y, saved = block(strategy, parameters, x, experts=experts)  # x (3, 5, hidden)

    positions: for each rank of `context` the places of its tokens in a sequence, ascending.
    total:   tokens of the whole step, over all ranks and microbatches: the losses beside the model's own are means.
    comm:    the ranks among which experts are shared out, each with tokens of its own; None if this rank has all.
    context: the ranks that have other tokens of the same sequences, or None.
    leads:   whether this rank counts these losses; of several ranks with the same tokens only one does.
    loads:   what tokens asked for and got, for each forward pass since the step began.
    """

    def __init__(
        self, routing: Routing, positions: Sequence[Array], total: int, *,
        comm: Any = None, context: Any = None, leads: bool = True,
    ) -> None:  # fmt: skip
        p, rank = (1, 0) if comm is None else (comm.size, comm.rank)
        if p > routing.experts:
            refuse(ValueError, "Experts", f"{routing.experts} experts for {p} ranks", "1 or more each", "lower ep")
        self.routing, self.positions, self.total = routing, positions, total
        self.comm, self.context, self.leads = comm if p > 1 else None, context, leads
        self.tokens = sum(map(len, positions))
        bounds = block_bounds(routing.experts, p)
        self.here = range(bounds[rank], bounds[rank + 1])
        self.begin()

    def begin(self, scale: float = 1.0) -> None:
        """Begin a step. scale: the factor by which gradients of the model's own loss are multiplied."""
        self.scale = scale
        self.loads: list[Load] = []

    def forward(self, parameters: Parameters, x: Array, selective: bool = False) -> tuple[Array, Saved]:
        """Return for each token the sum of its experts' outputs times their gates, and what the backward pass needs.

        selective: keep what goes into GELU instead of what comes out.

        Shape: x (batch, tokens, hidden) -> same.
        Cost:  with `comm` two all-to-alls of the vectors of tokens, and one of counts; with `context` see `route`.
        """
        expected = len(self.positions[0 if self.context is None else self.context.rank])
        if x.shape[1] != expected:
            remedy = "pass as many tokens as these Experts were made for, or make others"
            refuse(ValueError, "Experts", f"{x.shape[1]} tokens", f"{expected} on this rank", remedy)
        flat = rows(x)
        logits = wide(flat) @ wide(parameters["w_router"])
        choice = route(self.routing, logits, len(x), self.context, self.positions)
        exchange = Exchange(self.comm, self.routing.experts, choice.chosen, choice.kept)
        came = exchange.go(self.comm, exchange.rows(flat))
        parts = self._parts(exchange)
        up = self._each("w_up", parameters, came, parts, linear)
        active, slope = gelu(up)
        returned = exchange.back(self.comm, self._each("w_down", parameters, active, parts, linear))
        y = np.zeros(flat.shape, logits.dtype)
        exchange.add(wide(returned) * _gates(choice, exchange), y)
        saved = Saved(choice, exchange, came, active, slope, returned)
        return rounded(y, x.dtype).reshape(x.shape), saved._replace(active=up, slope=None) if selective else saved

    def input_backward(self, parameters: Parameters, saved: Saved, x: Array, d_y: Array) -> tuple[Array, Products]:
        """Return the gradient of x, and for each matrix its input and the gradient of its output.

        x: what stands for the input of the router in these products.

        Cost: with `comm` two all-to-alls of the vectors of tokens.
        """
        choice, exchange, came, active, slope, returned = saved
        flat = rows(d_y)
        of_rows, parts = exchange.rows(flat), self._parts(exchange)
        d_gates = np.zeros_like(choice.gates)
        d_gates.reshape(-1)[exchange.slots] = np.vecdot(wide(of_rows), wide(returned))
        d_down = exchange.go(self.comm, rounded(wide(of_rows) * _gates(choice, exchange), d_y.dtype))
        d_up = self._each("w_down", parameters, d_down, parts, _input_backward)
        d_up *= slope
        d_rows = exchange.back(self.comm, self._each("w_up", parameters, d_up, parts, _input_backward))
        weight = self.scale if self.leads else 0.0
        d_logits = route_backward(self.routing, choice, d_gates, self.tokens, self.total, weight)
        d_x: Array = d_logits @ wide(parameters["w_router"]).T
        exchange.add(wide(d_rows), d_x)
        self._note(choice)
        products: Products = {"w_router": (x, d_logits.reshape(*d_y.shape[:2], d_logits.shape[1]))}
        for e, part in zip(self.here, parts, strict=True):
            products[f"{e}.w_up"] = came[None, part], d_up[None, part]
            products[f"{e}.w_down"] = active[None, part], d_down[None, part]
        return rounded(d_x, d_y.dtype).reshape(d_y.shape), products

    def _note(self, choice: Choice) -> None:
        slots = choice.chosen.reshape(-1), choice.chosen[choice.kept]
        asked, kept = (np.bincount(each, minlength=self.routing.experts) for each in slots)
        shares = losses(self.routing, choice, self.tokens, self.total) if self.leads else (0.0, 0.0)
        self.loads.append(Load(asked, kept, *shares))

    def _parts(self, exchange: Exchange) -> list[slice]:
        """Return where the rows of each of this rank's experts are."""
        return [slice(low, high) for low, high in pairwise(accumulate(exchange.received.tolist(), initial=0))]

    def _each(
        self, name: str, parameters: Parameters, x: Array, parts: list[slice], product: Callable[[Array, Array], Array]
    ) -> Array:
        """Return the product of each expert's rows with its matrix."""
        each = [product(x[None, part], parameters[f"{e}.{name}"])[0] for e, part in zip(self.here, parts, strict=True)]
        return np.concatenate(each)


def _input_backward(d: Array, w: Array) -> Array:
    return linear_input_backward(w, d)


def _gates(choice: Choice, exchange: Exchange) -> Array:
    """Return the gate of each row that this rank sends, (rows, 1)."""
    return choice.gates.reshape(-1)[exchange.slots][:, None]
