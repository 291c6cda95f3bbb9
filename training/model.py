"""The layers of a GPT: the vectors of tokens, blocks, and the head with its loss; each backward has two halves.

    tokens -> table[tokens] + positions -> block -> ... -> block -> norm -> @ table.T -> cross entropy

A layer asks the states of its units for parameters and gives them gradients. `cut.py` has what all layers share.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np

from collectives.arrays import Array
from parallel.block import block, block_again, block_input_backward, block_weight_backward
from parallel.layers import (
    layer_norm,
    layer_norm_backward,
    linear,
    linear_input_backward,
    linear_weight_backward,
)
from parallel.precision import rounded, wide
from parallel.tensor.vocabulary import embed, embed_backward, vocabulary_loss
from training.cut import Cut
from training.sizes import experts_of, is_of_experts
from training.states import UnitState

States = Mapping[str, UnitState]


class Step(NamedTuple):
    """What layers need to know of a step.

    number: The step's number, from 1 up.
    total:  How many tokens of the whole step count.
    scale:  The factor by which the gradient of the loss is multiplied.
    """

    number: int
    total: int
    scale: float = 1.0


class Microbatch(NamedTuple):
    """A rank's tokens of some sequences, their labels, and the place of the first sequence in the step's batch."""

    tokens: Array
    labels: Array
    first: int


class Layer(Protocol):
    """A layer of the model. `waiting` is what the weight half needs, which may run any time later."""

    units: tuple[str, ...]

    def forward(self, states: States, batch: Microbatch, step: Step, x: Array) -> tuple[Array, Any]:
        """Return the layer's output, and what its backward needs."""

    def input_backward(self, states: States, saved: Any, d_y: Array) -> tuple[Array, Any]:
        """Return the gradient of x, and what the weight half needs."""

    def weight_backward(self, states: States, waiting: Any) -> None:
        """Add the gradients of this layer's parameters to those of its units."""


class Embedding:
    """The vectors of tokens and of their positions."""

    units: tuple[str, ...] = ("table", "positions")

    def __init__(self, cut: Cut) -> None:
        self.cut = cut

    def forward(self, states: States, batch: Microbatch, step: Step, x: Array) -> tuple[Array, Any]:
        """Return the vectors (sequences, tokens, hidden) of this rank's tokens; x is not used."""
        rows = embed(states["table"].parameters()["weight"], self.cut.first, batch.tokens)
        of_places = states["positions"].parameters()["weight"][self.cut.positions]
        drop = self.cut.drop(step.number, batch.first, 0)
        return drop(0, self.cut.strategy.leave(rows) + of_places), (batch.tokens, drop)

    def input_backward(self, states: States, saved: Any, d_y: Array) -> tuple[Array, Any]:
        """Return what waits; tokens have no gradient."""
        tokens, drop = saved
        d_y = drop(0, d_y)
        return d_y, (tokens, self.cut.strategy.leave_backward(d_y), d_y)

    def weight_backward(self, states: States, waiting: Any) -> None:
        """Add the gradients of the rows of both tables."""
        tokens, d_rows, d_y = waiting
        d_rows, d_y = wide(d_rows), wide(d_y)
        d_positions = np.zeros((states["positions"].parts["weight"].here), d_y.dtype)
        d_positions[self.cut.positions] = d_y.sum(0)
        states["table"].add({"weight": embed_backward(self.cut.rows, self.cut.first, tokens, d_rows)})
        states["positions"].add({"weight": d_positions})


class Block:
    """One transformer block."""

    def __init__(self, cut: Cut, number: int) -> None:
        self.cut, self.unit, self.place = cut, f"block.{number}", 1 + 2 * number
        self.experts = None if cut.experts is None else cut.experts()
        self.units: tuple[str, ...] = (self.unit,) if self.experts is None else (self.unit, experts_of(self.unit))

    def _parameters(self, states: States) -> dict[str, Array]:
        return {name: each for unit in self.units for name, each in states[unit].parameters().items()}

    def forward(self, states: States, batch: Microbatch, step: Step, x: Array) -> tuple[Array, Any]:
        """Return the block's output."""
        recompute, drop = self.cut.recompute, self.cut.drop(step.number, batch.first, self.place)
        parameters, selective = self._parameters(states), recompute == "selective"
        y, saved = block(self.cut.strategy, parameters, x, experts=self.experts, selective=selective, drop=drop)
        return y, (x if recompute == "full" else saved, drop)

    def input_backward(self, states: States, saved: Any, d_y: Array) -> tuple[Array, Any]:
        """Return the gradient of x."""
        strategy, parameters = self.cut.strategy, self._parameters(states)
        kept, drop = saved
        needed = kept
        if self.cut.recompute == "selective":
            needed = block_again(strategy, parameters, kept)
        elif self.cut.recompute == "full":
            _, needed = block(strategy, parameters, kept, experts=self.experts, drop=drop)
        states[self.unit].note("activations", needed)
        return block_input_backward(strategy, parameters, needed, d_y, drop, self.experts)

    def weight_backward(self, states: States, waiting: Any) -> None:
        """Add the block's gradients."""
        gradients = block_weight_backward(self.cut.strategy, waiting)
        for unit in self.units:
            of_experts = is_of_experts(unit)
            states[unit].add({name: each for name, each in gradients.items() if ("." in name) == of_experts})


class Head:
    """The last norm, the table once more as a matrix, and the loss: the one layer whose output is a number."""

    units: tuple[str, ...] = ("norm", "table")

    def __init__(self, cut: Cut) -> None:
        self.cut = cut

    def forward(self, states: States, batch: Microbatch, step: Step, x: Array) -> tuple[Array, Any]:
        """Return this microbatch's share of the step's loss, as an array of no axes."""
        norm, table = states["norm"].parameters(), states["table"].parameters()["weight"]
        normal, saved_norm = layer_norm(x, norm["gain"], norm["bias"])
        inside = self.cut.strategy.enter(normal)
        logits, labels = wide(linear(inside, table.T)), batch.labels  # the loss is computed in float32
        share, d_logits = vocabulary_loss(
            self.cut.comm, logits, self.cut.first, labels, step.total, smoothing=self.cut.smoothing
        )
        if step.scale != 1:
            d_logits *= step.scale
        return np.asarray(share), (saved_norm, inside, rounded(d_logits, x.dtype))

    def input_backward(self, states: States, saved: Any, d_y: Array) -> tuple[Array, Any]:
        """Return the gradient of x."""
        saved_norm, inside, d_logits = saved
        # No name for the table: under ZeRO-3 it is gathered, and would stay while the norm is.
        d_normal = linear_input_backward(states["table"].parameters()["weight"].T, d_logits)
        d_normal = self.cut.strategy.enter_backward(d_normal)
        d_x, d_gain, d_bias = layer_norm_backward(saved_norm, states["norm"].parameters()["gain"], d_normal)
        return d_x, (d_gain, d_bias, inside, d_logits)

    def weight_backward(self, states: States, waiting: Any) -> None:
        """Add the gradients of norm and table."""
        d_gain, d_bias, inside, d_logits = waiting
        states["norm"].add({"gain": d_gain, "bias": d_bias})
        states["table"].add({"weight": linear_weight_backward(d_logits, inside)})


def layers_of_stage(cut: Cut, n_blocks: range, first: bool, last: bool) -> list[Layer]:
    """Return the layers of a stage that has these blocks."""
    layers: list[Layer] = [Embedding(cut)] if first else []
    layers += [Block(cut, number) for number in n_blocks]
    return layers + ([Head(cut)] if last else [])
