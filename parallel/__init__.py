"""Attention on one rank and over many: dense, blockwise, and the parts of the parallel forms.

    import numpy as np
    from parallel import attention

    x = np.array([1.0, 3.0, 8.0]).reshape(1, 3, 1, 1)  # (batch, seq, heads, head_dim)
    attention(0 * x, x, x, causal=True).ravel()
    # array([1., 2., 4.])

Each rank has some of the tokens. Attention over many ranks can be Ulysses, a ring, or both. A transformer block can use
any of these, or can be cut by its weights as in Megatron. Every strategy gives the result and the gradients of one
rank.
"""

from parallel.attention.blockwise import blockwise_attention, blockwise_attention_backward, merge_attention
from parallel.attention.dense import attention, attention_backward
from parallel.attention.local import local_attention
from parallel.block import block, block_backward, block_input_backward, block_weight_backward
from parallel.experts.layer import Experts
from parallel.experts.routing import Routing
from parallel.loss import count_tokens, mean_token_loss
from parallel.memory import keep_freed_memory
from parallel.parameters import BlockSizes, random_parameters, split_parameters
from parallel.sequence.ring import ring_attention, ring_attention_backward
from parallel.sequence.shards import shard, token_positions, unshard
from parallel.sequence.ulysses import ulysses_attention, ulysses_attention_backward
from parallel.sequence.usp import unshard_grid, usp_attention, usp_attention_backward, usp_grid
from parallel.strategies import SequenceSharded, sum_gradients
from parallel.tensor.megatron import SequenceParallel, TensorParallel
from parallel.tensor.vocabulary import embed, embed_backward, vocabulary_loss, vocabulary_rows

__all__ = [
    "BlockSizes",
    "Experts",
    "Routing",
    "SequenceParallel",
    "SequenceSharded",
    "TensorParallel",
    "attention",
    "attention_backward",
    "block",
    "block_backward",
    "block_input_backward",
    "block_weight_backward",
    "blockwise_attention",
    "blockwise_attention_backward",
    "count_tokens",
    "embed",
    "embed_backward",
    "keep_freed_memory",
    "local_attention",
    "mean_token_loss",
    "merge_attention",
    "random_parameters",
    "ring_attention",
    "ring_attention_backward",
    "shard",
    "split_parameters",
    "sum_gradients",
    "token_positions",
    "ulysses_attention",
    "ulysses_attention_backward",
    "unshard",
    "unshard_grid",
    "usp_attention",
    "usp_attention_backward",
    "usp_grid",
    "vocabulary_loss",
    "vocabulary_rows",
]
