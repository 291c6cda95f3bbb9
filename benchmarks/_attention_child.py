"""Measure attention in a process of its own, and print one JSON object: CPU seconds of each variant, or bytes of one.

python _attention_child.py time 4096 causal backward 2     {"blockwise": [0.9, 0.9], "torch": [0.8, 0.9], ...}
python _attention_child.py memory 4096 full forward dense  {"bytes": 1.6e9}
"""

import json
import sys
from collections.abc import Callable
from importlib.util import find_spec
from itertools import product
from time import process_time
from typing import Any

import numpy as np
from _measure import resident_bytes

from parallel import attention, attention_backward, blockwise_attention, blockwise_attention_backward
from parallel.attention import blockwise

HEADS, DIM = 8, 64
LONGEST_DENSE = 4096
# Float32 sums of a few thousand terms, in another order than PyTorch's.
TOLERANCE = 1e-4


def main() -> None:
    """Measure what the arguments say."""
    what, seq, mask, direction, last = sys.argv[1:]
    kind = mask == "causal", direction == "backward"
    if what == "time":
        print(json.dumps(seconds(variants(int(seq), *kind, None), int(last))))
        return
    # What is allocated once for all is not counted.
    variants(64, *kind, last)[last]()
    print(json.dumps({"bytes": extra_bytes(variants(int(seq), *kind, last)[last])}))


def variants(seq: int, causal: bool, backward: bool, only: str | None) -> dict[str, Callable[[], Any]]:
    """Return the ways to do the work, by name: all that can run here, or just one.

    Backward they are given what forward left: each its own output, and nothing else of seq x seq.
    """
    q, k, v, d_out = np.random.default_rng(0).standard_normal((4, 1, seq, HEADS, DIM), np.float32)
    calls: dict[str, Callable[[], Any]] = {}
    if only in (None, "blockwise"):
        calls["blockwise"] = lambda: blockwise_attention(q, k, v, causal=causal)[0]
        if backward:
            out, lse = blockwise_attention(q, k, v, causal=causal)
            calls["blockwise"] = lambda: blockwise_attention_backward(q, k, v, out, lse, d_out, causal=causal)
    if only == "dense" or (only is None and seq <= LONGEST_DENSE):
        calls["dense"] = lambda: attention(q, k, v, causal=causal)
        if backward:
            calls["dense"] = lambda: attention_backward(q, k, v, d_out, causal=causal)
    if only in (None, "torch") and find_spec("torch"):
        calls["torch"] = torch_call(q, k, v, d_out, causal, backward)
    if only is None:
        calls["bound"] = lambda: products_and_exps(q, k, v, d_out, causal, backward)
    return calls


def torch_call(q: Any, k: Any, v: Any, d_out: Any, causal: bool, backward: bool) -> Callable[[], Any]:
    """Return a call of PyTorch's attention on one thread; its arrays are views of ours."""
    import torch

    torch.set_num_threads(1)
    of = torch.nn.functional.scaled_dot_product_attention
    inputs = [torch.from_numpy(x).transpose(1, 2) for x in (q, k, v)]
    if not backward:
        return lambda: of(*inputs, is_causal=causal).transpose(1, 2).numpy()
    leaves = [x.requires_grad_() for x in inputs]
    out, slope = of(*leaves, is_causal=causal), torch.from_numpy(d_out).transpose(1, 2)
    grads = torch.autograd.grad
    return lambda: [x.transpose(1, 2).numpy() for x in grads(out, leaves, slope, retain_graph=True)]


def products_and_exps(q: Any, k: Any, v: Any, d_out: Any, causal: bool, backward: bool) -> None:
    """Do just the matrix products and exponentials that cannot be left out, in tiles of blockwise's size.

    Every array of the arguments is read, and every product lands in the array of results that it belongs to, so that
    the bound covers the bytes too. Nothing is masked, scaled, summed or divided.
    """
    rows, cols = blockwise.ROWS_EDGED if causal else blockwise.ROWS, blockwise.COLS
    work = np.empty(rows * cols, q.dtype)
    out, dq, dk, dv = (np.empty_like(x) for x in (q, q, k, v))
    for h in range(HEADS):
        keys, values = np.ascontiguousarray(k[0, :, h]), np.ascontiguousarray(v[0, :, h])
        for i, j in product(range(0, q.shape[1], rows), range(0, q.shape[1], cols)):
            here = slice(i, i + rows)
            queries, d_outs = q[0, here, h], d_out[0, here, h]
            near = slice(j, min(j + cols, i + len(queries)) if causal else j + cols)
            some_keys, some_values = keys[near], values[near]
            if len(some_keys):
                tile = work[: len(queries) * len(some_keys)].reshape(len(queries), len(some_keys))
                np.matmul(queries, some_keys.T, out=tile)
                np.exp(tile, out=tile)
                if not backward:
                    np.matmul(tile, some_values, out=out[0, here, h])
                    continue
                np.matmul(tile.T, d_outs, out=dv[0, near, h])
                np.matmul(d_outs, some_values.T, out=tile)
                np.matmul(tile.T, queries, out=dk[0, near, h])
                np.matmul(tile, some_keys, out=dq[0, here, h])


def seconds(calls: dict[str, Callable[[], Any]], runs: int) -> dict[str, list[float]]:
    """Return the CPU seconds of each call in every round, run one after the other; stop if their results differ."""
    results = {name: call() for name, call in calls.items() if name != "bound"}
    for name, result in results.items():
        for mine, expected in zip(as_list(result), as_list(results["blockwise"]), strict=True):
            if not np.allclose(mine, expected, rtol=0, atol=TOLERANCE):
                raise SystemExit(f"{name} differs from blockwise by {abs(mine - expected).max()}: wrong, so not timed")
    del results
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(runs):
        for name, call in calls.items():
            start = process_time()
            call()
            times[name].append(process_time() - start)
    return times


def as_list(result: Any) -> list[Any]:
    """Return the arrays of a result: one, or three gradients."""
    return [result] if isinstance(result, np.ndarray) else list(result)


def extra_bytes(call: Callable[[], Any]) -> int:
    """Return by how much the call raises the peak of this process's resident memory, its results included."""
    before = max(resident_bytes("VmRSS"), resident_bytes("VmHWM"))
    call()
    return resident_bytes("VmHWM") - before


if __name__ == "__main__":
    main()
