"""Claims about the transformer block and its loss: the same on any ranks as on one, and right on one."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import parallel
import ranks
from block_claims import (
    STRATEGIES,
    Case,
    cases,
    claim_equals_one_rank,
    claim_softmax_of_each_token,
    dense,
    numeric,
    sizes_of,
    train,
    whole,
)
from parallel import layers


@pytest.mark.parametrize("p", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_loss_and_gradients_of_a_block_are_those_of_one_rank(strategy: str, p: int) -> None:
    for case in cases():
        ranks.run(claim_equals_one_rank, p, case, STRATEGIES[strategy], buffering="none")


@pytest.mark.parametrize(
    "case", [Case(3, heads=2, kv_heads=1, head_dim=2, causal=True), Case(2, batch=2, heads=1, kv_heads=1)]
)
def test_one_ranks_gradients_are_finite_differences(case: Case) -> None:
    every, sizes = whole(case), sizes_of(case)
    alone = parallel.SequenceSharded(None, sizes, dense(case.causal))
    parameters = {name: array.copy() for name, array in every.parameters.items()}
    x, head = every.x.copy(), every.head.copy()

    def loss() -> float:
        return train(None, alone, parameters, head, x, every.labels)[0]

    # Truncation: step^2 times a third derivative; rounding: eps / step. Both are about 1e-10 here.
    for name, array in {"d_x": x, "head": head, **parameters}.items():
        expected = every.d_x if name == "d_x" else every.gradients[name]
        np.testing.assert_allclose(numeric(loss, array), expected, atol=1e-8, err_msg=name)


def test_the_mean_loss_counts_every_token_once_however_shards_are_cut() -> None:
    rng = np.random.default_rng(0)
    logits, labels = rng.standard_normal((2, 12, 5)) * 30, rng.integers(-1, 5, (2, 12))
    counted = labels >= 0
    chances = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    expected = -np.log(chances[counted, labels[counted]]).mean()
    for lengths in ([12], [1, 11], [0, 5, 7], [3, 3, 3, 3]):
        ends = np.cumsum([0, *lengths])

        def program(comm: Any, ends: np.ndarray = ends) -> Any:
            mine = slice(ends[comm.rank], ends[comm.rank + 1])
            return parallel.mean_token_loss(comm, logits[:, mine], labels[:, mine])

        results = ranks.run(program, len(lengths)).results
        np.testing.assert_allclose([loss for loss, _ in results], expected, rtol=1e-13)
        d_logits = np.concatenate([d for _, d in results], 1)
        onehot = np.eye(5)[labels] * counted[..., None]
        np.testing.assert_allclose(d_logits, (chances * counted[..., None] - onehot) / counted.sum(), atol=1e-15)


def test_a_token_far_below_the_rest_of_its_batch_keeps_its_softmax() -> None:
    claim_softmax_of_each_token(parallel.mean_token_loss)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.full((1, 3), -1), "got no token that counts on any rank, expected 1 or more"),
        (np.array([[0, 5, 1]]), "got label 5, expected 0 to 4, or -1 for tokens that do not count"),
        (np.zeros((3, 1), int), r"got labels int64 \(3, 1\), expected integers of shape \(1, 3\)"),
        (np.zeros((1, 3)), r"got labels float64 \(1, 3\), expected integers"),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=f"(mean_token_loss|count_tokens): {message}.*remedy"):
        ranks.run(parallel.mean_token_loss, 2, np.zeros((1, 3, 5)), labels)


def test_layers_keep_their_arguments() -> None:
    rng = np.random.default_rng(0)
    x, d_y, w = rng.standard_normal((2, 3, 4)), rng.standard_normal((2, 3, 4)), rng.standard_normal((4, 4))
    gain = rng.standard_normal(4)
    for array in (x, d_y, w, gain):
        array.flags.writeable = False
    layers.linear(x, w, gain)
    layers.linear_input_backward(w, d_y)
    layers.linear_weight_backward(x, d_y)
    _, saved = layers.layer_norm(x, gain, gain)
    layers.layer_norm_backward(saved, gain, d_y)
    layers.gelu(x)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((8, 3, 1, 8), "got BlockSizes.*expected 1 or more of each, heads that divide hidden"),
        ((8, 4, 3, 8), "got BlockSizes.*expected K/V heads that divide the query heads"),
        ((8, 4, 4, 0), "got BlockSizes.*expected 1 or more of each"),
    ],
)
def test_blocks_that_cannot_be_are_refused(sizes: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=f"{message}.*remedy"):
        parallel.BlockSizes(*sizes)


def test_sequence_parallel_refuses_other_tokens_than_it_was_made_for_and_ranks_that_differ() -> None:
    def other_tokens(comm: Any) -> None:
        sizes = parallel.BlockSizes(4, 2, 2, 4)
        strategy = parallel.SequenceParallel(comm, sizes, parallel.local_attention(), tokens=3)
        strategy.enter(np.zeros((1, 2, 4)))

    def other_sizes(comm: Any) -> None:
        sizes = parallel.BlockSizes(4, 2, 2, 4 + comm.rank // 2)
        parallel.SequenceParallel(comm, sizes, parallel.local_attention(), tokens=3, keep_gathered=comm.rank == 0)

    with pytest.raises(ValueError, match="SequenceParallel: got 2 tokens, expected 3 on this rank; remedy"):
        ranks.run(other_tokens, 2)
    with pytest.raises(ValueError, match=r"rank 0: keep_gathered=True; rank 2: ffn=5, expected ffn=4"):
        ranks.run(other_sizes, 3)


STEPS = """
import resource
import numpy as np
import parallel

parallel.keep_freed_memory()
sizes = parallel.BlockSizes(64, 4, 4, 256)
strategy = parallel.SequenceSharded(None, sizes, parallel.local_attention(causal=True))
parameters = parallel.random_parameters(np.random.default_rng(0), sizes, np.float32)
faults = [0]
for turn in range(7):
    x, saved = np.zeros((8, 64, 64), np.float32), []
    for _ in range(4):
        x, each = parallel.block(strategy, parameters, x)
        saved.append(each)
    while saved:
        x, _ = parallel.block_backward(strategy, parameters, saved.pop(), x)
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
steps = sorted(after - before for before, after in zip(faults, faults[1:]))
print(steps[3])  # of most steps: the system may move pages during any
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries are left as they are")
def test_memory_that_is_freed_serves_the_next_step() -> None:
    """Four blocks keep some 20 MiB from forward to backward; nearly none of it comes anew from the system."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    environment |= {"PYTHONPATH": str(Path(parallel.__file__).parents[1]), "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", STEPS], capture_output=True, text=True, env=environment, check=True)
    assert int(done.stdout) < 100
