"""The sizes of a GPT, and the units of its parameters. A unit is gathered, reduced and owned as a whole."""

from __future__ import annotations

from dataclasses import dataclass

from parallel import BlockSizes, Routing
from parallel.arguments import refuse
from training.text import ALPHABET

Shapes = dict[str, tuple[int, ...]]


_WHOLE = ("vocab", "context", "hidden", "heads", "kv_heads", "ffn", "layers")


@dataclass(frozen=True, slots=True)
class GPTSizes:
    """The sizes of a GPT: classes of tokens, tokens of a sequence, features, heads, K/V heads, MLP, blocks.

        GPTSizes(hidden=32, heads=4, kv_heads=2, layers=2).n_parameters  # 42976

    experts:         The MLPs of each block of which a router chooses some for each token. Each has `ffn` features and
                     no biases. 0 means one MLP for all tokens.
    top_k:           The number of experts that it chooses. capacity_factor, balance, z_loss: as Routing says.
    shared_experts:  MLPs for all tokens, beside the others. Together they are one MLP with so many times `ffn`
                     features.
    """

    vocab: int = len(ALPHABET)
    context: int = 64
    hidden: int = 64
    heads: int = 4
    kv_heads: int = 4
    ffn: int = 256
    layers: int = 4
    experts: int = 0
    top_k: int = 2
    shared_experts: int = 0
    capacity_factor: float | None = None
    balance: float = 0.01
    z_loss: float = 0.0

    def __post_init__(self) -> None:
        for name in (*_WHOLE, "experts", "shared_experts"):
            value, least = getattr(self, name), int(name in _WHOLE)
            if type(value) is not int or value < least:
                expected = f"a whole number from {least} up"
                refuse(ValueError, "GPTSizes", f"{name}={value!r}", expected, f"change {name}")
        if self.shared_experts and not self.experts:
            got = f"shared_experts={self.shared_experts} without experts"
            refuse(ValueError, "GPTSizes", got, "experts too", "set experts, or leave shared_experts out")
        BlockSizes(self.hidden, self.heads, self.kv_heads, self.ffn)
        if self.experts:
            self.routing  # noqa: B018  # it checks

    @property
    def block(self) -> BlockSizes:
        """The sizes of one block; without an MLP for all tokens its ffn is that of an expert."""
        return BlockSizes(self.hidden, self.heads, self.kv_heads, self.dense_ffn or self.ffn)

    @property
    def dense_ffn(self) -> int:
        """Features of the MLP through which all tokens go; 0 if there is none."""
        return self.ffn * self.shared_experts if self.experts else self.ffn

    @property
    def routing(self) -> Routing:
        """How tokens find their experts."""
        return Routing(self.experts, self.top_k, self.capacity_factor, self.balance, self.z_loss)

    @property
    def n_parameters(self) -> int:
        """The number of parameters that are learnt."""
        total = 0
        for shapes in self.units().values():
            for shape in shapes.values():
                total += shape[0] * (shape[1] if len(shape) == 2 else 1)
        return total

    def units(self) -> dict[str, Shapes]:
        """Return the shapes of all parameters, unit by unit in the order of the forward pass.

        A block's experts are a unit of their own, since other ranks share them out.

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
        }
        if f := self.dense_ffn:
            of_block |= {"w_up": (h, f), "b_up": (f,), "w_down": (f, h), "b_down": (h,)}
        of_experts: Shapes = {}
        if self.experts:
            of_block["w_router"] = (h, self.experts)
        for e in range(self.experts):
            of_experts |= {f"{e}.w_up": (h, self.ffn), f"{e}.w_down": (self.ffn, h)}
        units: dict[str, Shapes] = {"table": {"weight": (self.vocab, h)}, "positions": {"weight": (self.context, h)}}
        for i in range(self.layers):
            units[f"block.{i}"] = of_block
            if self.experts:
                units[experts_of(f"block.{i}")] = of_experts
        return units | {"norm": {"gain": (h,), "bias": (h,)}}


def experts_of(block: str) -> str:
    """Return the unit that has the experts of a block.

    experts_of("block.3")  # block.3.experts
    """
    return f"{block}.experts"


def is_of_experts(unit: str) -> bool:
    """Return whether a unit has experts."""
    return unit.endswith(".experts")
