"""Models with names, and trainings that papers describe: their plans, and which part of the peak they reached.

This model's MLP has two matrices. A gated one has three, so it is as one of one and a half times the features.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import ranks
from ranks import Link, Network
from training import GPTSizes, Plan
from training.planner import DEVICES, Device


@dataclass(frozen=True)
class Model:
    """A model, and the sequences of a step."""

    sizes: GPTSizes
    batch: int


def _gpt(hidden: int, heads: int, layers: int, *, vocab: int = 51_200, context: int = 2048) -> GPTSizes:
    return GPTSizes(vocab, context, hidden, heads, heads, 4 * hidden, layers)


def _llama(hidden: int, heads: int, ffn: int, layers: int, context: int = 8192) -> GPTSizes:
    return GPTSizes(128_256, context, hidden, heads, 8, ffn * 3 // 2, layers)


_DEEPSEEK = GPTSizes(129_280, 4096, 7168, 128, 128, 2048 * 3 // 2, 61, experts=256, top_k=8, shared_experts=1)
# Batches of llama-8b and llama-70b are assumed.
MODELS = {
    "toy": Model(GPTSizes(context=32, hidden=64, heads=8, kv_heads=4, ffn=128, layers=8), 16),
    "gpt-7.5b": Model(_gpt(4096, 32, 36), 512),
    "gpt-175b": Model(_gpt(12_288, 96, 96), 1536),
    "llama-8b": Model(_llama(4096, 32, 14_336, 32), 512),
    "llama-70b": Model(_llama(8192, 64, 28_672, 80), 2048),
    "llama-405b": Model(_llama(16_384, 128, 53_248, 126), 2048),
    "deepseek-v3": Model(_DEEPSEEK, 15_360),
}


@dataclass(frozen=True)
class Paper:
    """Where figures of trainings stand, and what no text says. Each of both is a sentence for readers."""

    name: str
    found: str
    assumed: str


@dataclass(frozen=True)
class Published:
    """A training that a paper describes. of_peak: the part of the peak that its FLOPs were.

    with_recomputing: these are all FLOPs, those of attention that nobody sees included.
    """

    name: str
    paper: Paper
    model: Model
    plan: Plan
    network: Network
    device: Device
    of_peak: float
    with_recomputing: bool = False


_MEGATRON = Paper(
    "Megatron-LM",
    "Sizes of the models, tp, pp, GPUs, batch and part of the peak are those of arXiv 2104.04473, table 1. The file "
    "examples/sc21/run_table_1.sh of NVIDIA/Megatron-LM says the sequences of a microbatch, the layers of a stage and "
    "that all activations are made again. Nodes with eight GPUs, each with a port of 200 Gb/s, are the paper's.",
    "A port carries 24 GB/s, and latencies are those of the network dgx-a100-shared.",
)
_LLAMA_3 = Paper(
    "Llama 3",
    "Sizes are those of arXiv 2407.21783, table 3, and of the config.json on Hugging Face; tp, cp, pp, dp, tokens, "
    "batch and part of the peak are those of table 4 in its third version (the first one says DP 4 for 128K tokens, "
    "and GPUs are then not 16,384). The text says: an interleaved schedule, 400 Gb/s a GPU, no recomputation at 8K "
    "tokens.",
    "chunks=7, one sequence a microbatch, sp, and no recomputation at 128K tokens. The paper shards gradients as well "
    "and sums them once a step; zero=1 comes nearest. It gives the first and the last rank a block less, and gathers "
    "all keys and values at once; here they go round a ring.",
)
_DEEPSEEK_V3 = Paper(
    "DeepSeek-V3",
    "arXiv 2412.19437 says: pp=16, ep=64 on eight nodes, ZeRO-1, DualPipe, 2,048 GPUs, 15,360 sequences of 4K tokens, "
    "norms made again, NVLink at 160 GB/s and InfiniBand at 50 GB/s. Sizes are those of its section 4.2 and of the "
    "config.json on Hugging Face. The part of the peak is derived: 180,000 GPU hours for a trillion tokens, on each of "
    "which 37 billion parameters work, against an H100's peak in bfloat16.",
    "One sequence a microbatch. This model has plain attention, experts in all of 61 blocks (the paper's first three "
    "have one MLP, as wide as nine experts), no prediction of a second token, and no limit to the nodes of a token.",
)

# A DGX A100 has eight ports of 200 Gb/s, one a GPU.
_SELENE = replace(
    ranks.presets["dgx-a100-shared"], name="selene", inter=Link.of(2.3e-6, 24e9), shared_node_port=False
)  # fmt: skip
_H800 = replace(ranks.presets["dgx-h100"], name="h800", intra=Link.of(1.5e-6, 160e9))

# Hidden, heads, layers, tp, pp, GPUs, sequences, percent of the peak of an A100; sequences of a microbatch and stages
# of a rank.
_GPTS = {
    "GPT 1.7B": (2304, 24, 24, 1, 1, 32, 512, 44, 16, 1),
    "GPT 3.6B": (3072, 32, 30, 2, 1, 64, 512, 44, 16, 1),
    "GPT 7.5B": (4096, 32, 36, 4, 1, 128, 512, 46, 16, 1),
    "GPT 18.4B": (6144, 48, 40, 8, 1, 256, 1024, 43, 8, 1),
    "GPT 39.1B": (8192, 64, 48, 8, 2, 512, 1536, 44, 4, 1),
    "GPT 76.1B": (10_240, 80, 60, 8, 4, 1024, 1792, 45, 2, 3),
    "GPT 145.6B": (12_288, 96, 80, 8, 8, 1536, 2304, 47, 2, 2),
    "GPT 310.1B": (16_384, 128, 96, 8, 16, 1920, 2160, 50, 1, 2),
    "GPT 529.6B": (20_480, 128, 105, 8, 35, 2520, 2520, 52, 1, 3),
    "GPT 1008.0B": (25_600, 160, 128, 8, 64, 3072, 3072, 52, 1, 1),
}
# GPUs, cp, tokens of a sequence, sequences, percent of the peak of an H100.
_LLAMAS = {
    "Llama 3 405B, 8,192 GPUs": (8192, 1, 8192, 2048, 43),
    "Llama 3 405B, 16,384 GPUs": (16_384, 1, 8192, 2048, 41),
    "Llama 3 405B, 128K tokens": (16_384, 16, 131_072, 128, 38),
}


def published() -> list[Published]:
    """Return the trainings, those of one paper together."""
    found = []
    for name, (hidden, heads, layers, tp, pp, gpus, batch, percent, b, chunks) in _GPTS.items():
        dp = gpus // (tp * pp)
        schedule = "interleaved" if chunks > 1 else "1f1b"
        plan = Plan(
            dp=dp, tp=tp, pp=pp, chunks=chunks, schedule=schedule, microbatches=batch // dp // b, recompute="full"
        )
        model = Model(_gpt(hidden, heads, layers), batch)
        found.append(Published(name, _MEGATRON, model, plan, _SELENE, DEVICES["a100"], percent / 100, True))
    for name, (gpus, cp, context, batch, percent) in _LLAMAS.items():
        dp = gpus // (8 * cp * 16)
        plan = Plan(
            dp=dp, tp=8, sp=True, cp=cp, pp=16, chunks=7, schedule="interleaved", microbatches=batch // dp, zero=1
        )
        model = Model(_llama(16_384, 128, 53_248, 126, context), batch)
        found.append(Published(name, _LLAMA_3, model, plan, ranks.presets["dgx-h100"], DEVICES["h100"], percent / 100))
    plan = Plan(dp=128, ep=64, pp=16, schedule="dualpipe", microbatches=120, zero=1, recompute="selective")
    of_peak = 1e12 / (180_000 * 3600) * 6 * 37e9 / DEVICES["h100"].flops_per_s
    model = MODELS["deepseek-v3"]
    found.append(Published("DeepSeek-V3", _DEEPSEEK_V3, model, plan, _H800, DEVICES["h100"], of_peak))
    return found
