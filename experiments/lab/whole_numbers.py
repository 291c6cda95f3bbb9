"""A GPT in whole numbers: sums of them are the same in every order, so that plans can be compared to the last bit.

Norms become gain * x + bias, GELU a ramp, attention the sum of q_i + k_j + v_j over the keys that a query sees, the
probability of an expert 1 or 2, and the loss the sum of weight * logit of the label. The weight of a token stands in
its label, as label + vocab * weight. Each is drawn at random, so that a gradient in which any token's share is missing,
doubled or scaled differs from the right one, but for a chance of one in a thousand. All else is the product's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np

import training.checks
import training.model
import training.trainer
from collectives import ring_allreduce
from experiments.lab.changing import changed
from parallel.attention.local import Kernel
from parallel.precision import wide
from training import Batch
from training.text import IGNORED

LARGEST = 2.0**53


def norm(x: Any, gain: Any, bias: Any) -> Any:
    return x * gain + bias, x


def norm_again(saved: Any, gain: Any, bias: Any) -> Any:
    return saved * gain + bias


def norm_backward(saved: Any, gain: Any, d_y: Any) -> Any:
    return d_y * gain, (wide(d_y) * wide(saved)).sum((0, 1)), wide(d_y).sum((0, 1))


def ramp(x: Any) -> Any:
    return np.maximum(x, 0), (x > 0).astype(x.dtype)


def seen(q: Any, k: Any, q_positions: Any, k_positions: Any) -> Any:
    """Return which query sees which key, as numbers (queries, keys)."""
    rows = np.arange(q.shape[1]) + q_positions if np.ndim(q_positions) == 0 else q_positions
    columns = np.arange(k.shape[1]) + k_positions if np.ndim(k_positions) == 0 else k_positions
    return (columns[None, :] <= rows[:, None]).astype(q.dtype)


def attend(q: Any, k: Any, v: Any, *, into: Any = None, q_positions: Any = 0, k_positions: Any = 0, **_: Any) -> Any:
    sees, group = seen(q, k, q_positions, k_positions), q.shape[2] // max(k.shape[2], 1)
    both = np.einsum("ij,bjhd->bihd", sees, k + v).repeat(group, 2)
    out = both + sees.sum(1)[None, :, None, None] * q
    lse = np.zeros(q.shape[:3], q.dtype)
    return (out, lse) if into is None else (into[0] + out, lse)


def attend_backward(
    q: Any, k: Any, v: Any, out: Any, lse: Any, d_out: Any, *,
    into: Any = None, q_positions: Any = 0, k_positions: Any = 0, **_: Any,
) -> Any:  # fmt: skip
    sees, group = seen(q, k, q_positions, k_positions), q.shape[2] // max(k.shape[2], 1)
    d_q = sees.sum(1)[None, :, None, None] * d_out
    by_key = np.einsum("ij,bihd->bjhd", sees, d_out)
    d_k = by_key.reshape(*by_key.shape[:2], k.shape[2], group, by_key.shape[3]).sum(3)
    if into is None:
        return d_q, d_k, d_k.copy()
    for held, new in zip(into, (d_q, d_k, d_k), strict=True):
        held += new
    return into


WHOLE = Kernel(attend, attend_backward)


def loss(comm: Any, logits: Any, first: int, labels: Any, total: int, smoothing: float) -> Any:
    """Return the sum over tokens of weight * logit of the label, and the gradient of this rank's logits."""
    counted = labels != IGNORED
    weight, label = np.divmod(np.where(counted, labels, 0), VOCAB)
    place = label - first
    here = counted & (place >= 0) & (place < logits.shape[2])
    d_logits = np.zeros_like(logits)
    d_logits[(*np.nonzero(here), place[here])] = weight[here]
    assert abs(logits).max(initial=0) < LARGEST
    share = np.array([(d_logits * logits).sum()])
    return float(share[0] if comm is None else ring_allreduce(comm, share)[0]), d_logits


def chances(logits: Any) -> Any:
    """Return 1 for even logits, 2 for odd ones, and nothing for the z-loss."""
    return 1 + np.abs(logits) % 2, np.zeros(len(logits), logits.dtype)


VOCAB = 7


def batch(seed: int, step: int, sequences: int, context: int, vocab: int) -> Batch:
    """Return tokens at random, of which one in five does not count, and the others have weights from 1 to 1,000."""
    rng = np.random.default_rng([seed, step])
    tokens, labels = rng.integers(0, vocab, (2, sequences, context))
    labels += vocab * rng.integers(1, 1001, labels.shape)
    return Batch(tokens, np.where(rng.random(labels.shape) < 0.2, IGNORED, labels))


def small_numbers(sizes: Any, unit: str, name: str, seed: int) -> Any:
    """Return a parameter as whole numbers from -1 to 1."""
    shape = sizes.units()[unit][name]
    return np.random.default_rng([seed, *f"{unit}.{name}".encode()]).integers(-1, 2, shape).astype(np.float64)


@contextmanager
def in_whole_numbers() -> Iterator[None]:
    """Have all trainers of this process compute in whole numbers."""
    layers = {"layer_norm": lambda _: norm, "layer_norm_backward": lambda _: norm_backward}
    with (
        changed(
            import_module("parallel.block"), gelu=lambda _: ramp, layer_norm_again=lambda _: norm_again, **layers
        ),
        changed(import_module("parallel.experts.layer"), gelu=lambda _: ramp),
        changed(
            import_module("parallel.experts.routing"), softmax=lambda _: chances,
            softmax_backward=lambda _: lambda probabilities, d: d, _balance_weight=lambda _: lambda *about: 3.0,
        ),
        changed(training.model, vocabulary_loss=lambda _: loss, **layers),
        # Labels carry weights.
        changed(training.checks, checked_batch=lambda _: lambda batch, *about: batch),
        changed(training.trainer, checked_batch=lambda _: lambda batch, *about: batch),
        changed(
            training.trainer, initial=lambda _: small_numbers,
            make_cut=lambda real: partial(real, kernel=WHOLE),
        ),
    ):  # fmt: skip
        yield
