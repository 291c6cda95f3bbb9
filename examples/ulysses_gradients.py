"""Are the gradients of attention right if three ranks share the sequence, as in DeepSpeed-Ulysses?

Each rank has some of the tokens. What the ranks come to is compared with one rank's attention over all tokens, and the
gradients also with finite differences: move one number a little each way, and see by how much the loss changes.

    $ python examples/ulysses_gradients.py
    tokens of each rank: [3, 2, 2]
    result within 1e-12 of one rank's: True
    dq within 1e-8 of finite differences: True
    dk within 1e-8 of finite differences: True
    dv within 1e-8 of finite differences: True
"""

import numpy as np

import ranks
from parallel import attention, shard, ulysses_attention, ulysses_attention_backward, unshard

BATCH, TOKENS, HEADS, DIM = 1, 7, 6, 4  # tokens and heads need not be multiples of the ranks
STEP = 1e-5


def program(comm, whole, d_out):
    """Return this rank's tokens of the result, and of the gradients of q, k and v."""
    q, k, v = (shard(x, comm.size, comm.rank) for x in whole)
    out, saved = ulysses_attention(comm, q, k, v, causal=True)
    return out, *ulysses_attention_backward(comm, saved, shard(d_out, comm.size, comm.rank))


def loss(whole, d_out):
    """Return a number whose gradient with respect to the result is d_out."""
    return float((attention(*whole, causal=True) * d_out).sum())


def finite_difference(whole, d_out, which, place):
    """Return by how much the loss changes with one number of q, k or v."""
    ends = []
    for step in (STEP, -STEP):
        moved = [x.copy() for x in whole]
        moved[which][place] += step
        ends.append(loss(moved, d_out))
    return (ends[0] - ends[1]) / (2 * STEP)


if __name__ == "__main__":
    random = np.random.default_rng(0)
    whole = list(random.standard_normal((3, BATCH, TOKENS, HEADS, DIM)))
    d_out = random.standard_normal((BATCH, TOKENS, HEADS, DIM))
    run = ranks.run(program, 3, whole, d_out)
    out, *gradients = (unshard(parts) for parts in zip(*run.results, strict=True))
    print("tokens of each rank:", [parts[0].shape[1] for parts in run.results])
    print("result within 1e-12 of one rank's:", np.allclose(out, attention(*whole, causal=True), rtol=0, atol=1e-12))
    for name, which in (("dq", 0), ("dk", 1), ("dv", 2)):
        places = [tuple(random.integers(whole[which].shape)) for _ in range(5)]
        off = max(abs(gradients[which][at] - finite_difference(whole, d_out, which, at)) for at in places)
        print(f"{name} within 1e-8 of finite differences: {off < 1e-8}")
