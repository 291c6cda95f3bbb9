"""Attention, on one rank and over many: dense, blockwise, and what the parallel forms are made of.

import numpy as np
from parallel import attention

x = np.array([1.0, 3.0, 8.0]).reshape(1, 3, 1, 1)  # (batch, seq, heads, head_dim)
attention(0 * x, x, x, causal=True).ravel()
# array([1., 2., 4.])
"""

from parallel.attention import attention, attention_backward
from parallel.blockwise import blockwise_attention, blockwise_attention_backward, merge_attention

__all__ = [
    "attention",
    "attention_backward",
    "blockwise_attention",
    "blockwise_attention_backward",
    "merge_attention",
]
