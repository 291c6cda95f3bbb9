"""The sizes of a GPT, and the units into which its parameters are cut: what is gathered, reduced and owned at once."""

from __future__ import annotations

from dataclasses import dataclass

from parallel import BlockSizes
from parallel.arguments import refuse
from training.text import ALPHABET

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class GPTSizes:
    """The sizes of a GPT: classes of tokens, tokens of a sequence, features, heads, K/V heads, MLP, blocks.

    GPTSizes(hidden=32, heads=4, kv_heads=2, layers=2).n_parameters  # 42976
    """

    vocab: int = len(ALPHABET)
    context: int = 64
    hidden: int = 64
    heads: int = 4
    kv_heads: int = 4
    ffn: int = 256
    layers: int = 4

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                refuse(ValueError, "GPTSizes", f"{name}={value!r}", "a whole number from 1 up", f"change {name}")
        BlockSizes(self.hidden, self.heads, self.kv_heads, self.ffn)

    @property
    def block(self) -> BlockSizes:
        """The sizes of one block."""
        return BlockSizes(self.hidden, self.heads, self.kv_heads, self.ffn)

    @property
    def n_parameters(self) -> int:
        """How many numbers are learnt."""
        total = 0
        for shapes in self.units().values():
            for shape in shapes.values():
                total += shape[0] * (shape[1] if len(shape) == 2 else 1)
        return total

    def units(self) -> dict[str, Shapes]:
        """Return the shapes of all parameters, unit by unit in the order of the forward pass.

        The table of token vectors serves twice, at the beginning and, transposed, as the head.
        """
        h, block = self.hidden, self.block
        qkv = block.head_dim * (self.heads + 2 * self.kv_heads)
        of_block: Shapes = {
            "norm1_gain": (h,),
            "norm1_bias": (h,),
            "w_qkv": (h, qkv),
            "b_qkv": (qkv,),
            "w_out": (h, h),
            "b_out": (h,),
            "norm2_gain": (h,),
            "norm2_bias": (h,),
            "w_up": (h, self.ffn),
            "b_up": (self.ffn,),
            "w_down": (self.ffn, h),
            "b_down": (h,),
        }
        units: dict[str, Shapes] = {"table": {"weight": (self.vocab, h)}, "positions": {"weight": (self.context, h)}}
        units |= {f"block.{i}": of_block for i in range(self.layers)}
        return units | {"norm": {"gain": (h,), "bias": (h,)}}
