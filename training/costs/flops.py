"""Floating-point operations of training: by the formula of the papers, and every matrix product of this model.

    flops_per_token(GPTSizes())  # 1289088.0

That is 6N + 6Lhs: a multiplication and an addition for each number, in three passes. A product of (m, k) and (k, n)
takes 2mnk. Each matrix takes part in three: forward, gradient of the input, gradient of the weights. So a step takes
6N a token, N being the numbers in matrices. The table counts once, as the head: in the beginning it is looked up.
Attention of one layer adds 12hs a token if each token attends to all s of its sequence, and half of that under a
causal mask. The backward here makes the scores again instead of keeping them: 14hs.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

from parallel.arguments import refuse
from parallel.attention.together import BAND
from training.plan import RECOMPUTE
from training.sizes import GPTSizes


class Passes(NamedTuple):
    """FLOPs of a forward, of the half of a backward that gives the gradient of the input, and of the other half."""

    forward: float
    input: float
    weight: float

    @property
    def total(self) -> float:
        """All three."""
        return sum(self)


def matrix_numbers(sizes: GPTSizes) -> int:
    """Return how many numbers are in matrices with which a token is multiplied: N; of experts those that it is sent to.

    matrix_numbers(GPTSizes())  # 198464, of 206016 parameters
    """
    units = sizes.units()
    of_block = sum(shape[0] * shape[1] for shape in units["block.0"].values() if len(shape) == 2)
    of_experts = 2 * min(sizes.top_k, sizes.experts) * sizes.hidden * sizes.ffn
    return sizes.layers * (of_block + of_experts) + sizes.vocab * sizes.hidden


def flops_per_token(sizes: GPTSizes, *, causal: bool = True, recompute: str = "none") -> float:
    """Return the FLOPs of training on one token by the papers' formula, 6N + 12Lhs.

        flops_per_token(GPTSizes(), causal=False) - flops_per_token(GPTSizes())  # 98304.0: 6Lhs

    causal:    Whether half of the attention is left out, since nobody sees it.
    recompute: As in a plan. "full" computes each block's forward twice: of the blocks 8N, and 16Lhs. "selective" makes
               no product again.

    Source: Chowdhery et al., PaLM, arXiv 2204.02311, appendix B; Narayanan et al., arXiv 2104.04473.
    """
    if recompute not in RECOMPUTE:
        expected = f"one of {', '.join(RECOMPUTE)}"
        refuse(ValueError, "flops_per_token", f"recompute={recompute!r}", expected, "choose one of these")
    again, head = recompute == "full", sizes.vocab * sizes.hidden
    of_blocks = (6 + 2 * again) * (matrix_numbers(sizes) - head)
    attention = (12 + 4 * again) * sizes.layers * sizes.hidden * sizes.context
    return of_blocks + 6 * head + attention / (2 if causal else 1)


def utilisation(tokens_per_s: float, sizes: GPTSizes, peak_flops_per_s: float, *, causal: bool = True) -> float:
    """Return the MFU: the part of the peak of all devices that the model's own FLOPs are; recomputing does not count.

        utilisation(1e6, GPTSizes(), 1e13)  # 0.1289088

    Source: Chowdhery et al., PaLM, arXiv 2204.02311, appendix B.
    """
    return tokens_per_s * flops_per_token(sizes, causal=causal) / peak_flops_per_s


def block_passes(tokens: float, matrices: float, pairs: float, width: float, recompute: str = "none") -> Passes:
    """Return the FLOPs of the passes of a block; recomputing belongs to the input half.

        block_passes(tokens=1, matrices=12, pairs=0, width=4)  # Passes(forward=24, input=24, weight=24)

    tokens:   For how many the matrices work. matrices: Numbers in them.
    pairs:    Of a query and a key that it sees. width: Features of all query heads.
    """
    product, scores = 2 * tokens * matrices, 2 * pairs * width
    forward = product + 2 * scores
    return Passes(forward, product + 5 * scores + (forward if recompute == "full" else 0), product)


def products_of_step(sizes: GPTSizes, sequences: int) -> dict[str, int]:
    """Return the FLOPs of all matrix products of a step on one rank, by what they are for; sequences of up to 128.

        products_of_step(GPTSizes(), 8)["matrices"] == 6 * matrix_numbers(GPTSizes()) * 8 * 64  # True

    matrices:  three products with each.
    attention: scores and values of pairs, forward; scores again and four gradients, backward. Queries are worked on
               in bands, with all keys up to the band's last, of which the first queries do not see some. Columns of
               ones and offsets lie beside values, keys and queries: those are three more features in all, which serve
               as sums.
    sums:      means of tokens, and sums over tokens for biases: products with ones, faster than sums.
    """
    if not 1 <= sizes.context <= 128:
        got = f"sequences of {sizes.context} tokens"
        refuse(ValueError, "products_of_step", got, "at most 128, one tile", "take a shorter context")
    if sizes.experts:
        refuse(ValueError, "products_of_step", f"{sizes.experts} experts", "a dense model", "set experts=0")
    tokens, h, layers = sequences * sizes.context, sizes.hidden, sizes.layers
    ends = [min(first + BAND, sizes.context) for first in range(0, sizes.context, BAND)]
    of_sequence = sum((end - begin) * end for begin, end in pairwise([0, *ends]))
    pairs, features = sequences * of_sequence * sizes.heads, sizes.block.head_dim
    qkv = features * (sizes.heads + 2 * sizes.kv_heads)
    norms = 2 * layers + 1
    means = 2 * norms * h  # forward, and of the gradient
    biases = norms * h + layers * (2 * h + qkv + sizes.ffn)
    return {
        "matrices": 6 * matrix_numbers(sizes) * tokens,
        "attention": layers * 2 * pairs * (7 * features + 3),
        "sums": 2 * tokens * (means + biases),
    }
