"""Measure steps of training in a process of its own, and print CPU seconds of each variant as one JSON object.

python _training_child.py 64 256 20     {"ours": [0.03, 0.03, ...], "torch": [0.03, 0.03, ...]}
"""

import json
import sys
from collections.abc import Callable
from functools import cache
from time import process_time
from typing import Any

import numpy as np

import ranks
from training.sizes import GPTSizes
from training.text import text_batch
from training.trainer import Plan, Trainer, whole_parameters

try:
    import torch
    import torch.nn.functional as f
except ImportError:
    torch = None

WARM_UP, TOLERANCE = 3, 1e-3  # steps that are compared and not timed; how far their float32 losses may differ


def main() -> None:
    """Measure what the arguments say: features, those inside of the MLP, timed steps."""
    hidden, ffn, steps = map(int, sys.argv[1:])
    if torch:  # what an optimiser imports changes filters of warnings, so not while ranks run
        torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))]).step()
    print(json.dumps(ranks.run(measure, 1, GPTSizes(hidden=hidden, ffn=ffn), steps).results[0]))


def measure(comm: Any, sizes: GPTSizes, steps: int) -> dict[str, list[float]]:
    """Take steps in turns, compare the first ones, return the seconds of the others."""
    trainer = Trainer(comm, Plan(), sizes=sizes, dtype=np.float32, data=cache(text_batch))

    def ours() -> float:
        trainer.step()
        return trainer.history.losses[-1]

    variants = {"ours": ours}
    if torch:
        variants["torch"] = torch_step(trainer)
    for step in range(1, WARM_UP + steps + 1):  # texts are made before
        trainer.data(trainer.seed, step, trainer.batch, sizes.context, sizes.vocab)
    found: dict[str, list[float]] = {name: [] for name in variants}
    for turn in range(WARM_UP + steps):
        losses = []
        for name, take in variants.items():
            start = process_time()
            losses.append(take())
            found[name].append(process_time() - start)
        if turn < WARM_UP:
            assert max(losses) - min(losses) < TOLERANCE * max(losses), f"{losses}: not the losses of one model"
    return {name: seconds[WARM_UP:] for name, seconds in found.items()}


def torch_step(trainer: Trainer) -> Callable[[], float]:
    """Return a step of the same model in eager PyTorch, on the same batches, from the same parameters."""
    torch.set_num_threads(1)
    sizes, ours = trainer.sizes, trainer.optimizer
    w = {name: torch.tensor(each.copy(), requires_grad=True) for name, each in whole_parameters(trainer).items()}
    groups = [
        {"params": [each for each in w.values() if each.ndim == 2], "weight_decay": ours.decay},
        {"params": [each for each in w.values() if each.ndim == 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=ours.rate, betas=(ours.beta1, ours.beta2), eps=ours.epsilon)
    step = 0

    def block(i: int, x: Any) -> Any:
        p = {name.rpartition(".")[2]: each for name, each in w.items() if name.startswith(f"block.{i}.")}
        normal = f.layer_norm(x, x.shape[2:], p["norm1_gain"], p["norm1_bias"])
        qkv = torch.addmm(p["b_qkv"], normal.flatten(0, 1), p["w_qkv"])
        q, k, v = qkv.view(*x.shape[:2], 3, sizes.heads, -1).permute(2, 0, 3, 1, 4)
        out = f.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(-1, sizes.hidden)
        x = x + torch.addmm(p["b_out"], out, p["w_out"]).view_as(x)
        normal = f.layer_norm(x, x.shape[2:], p["norm2_gain"], p["norm2_bias"])
        up = f.gelu(torch.addmm(p["b_up"], normal.flatten(0, 1), p["w_up"]), approximate="tanh")
        return x + torch.addmm(p["b_down"], up, p["w_down"]).view_as(x)

    def take() -> float:
        nonlocal step
        step += 1
        batch = trainer.data(trainer.seed, step, trainer.batch, sizes.context, sizes.vocab)
        tokens, labels = (torch.tensor(each) for each in batch)
        x = f.embedding(tokens, w["table.weight"]) + w["positions.weight"]
        for i in range(sizes.layers):
            x = block(i, x)
        x = f.layer_norm(x, x.shape[2:], w["norm.gain"], w["norm.bias"])
        loss = f.cross_entropy((x @ w["table.weight"].T).flatten(0, 1), labels.flatten(), ignore_index=-1)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(w.values(), ours.clip)
        optimizer.step()
        return float(loss.detach())

    return take


if __name__ == "__main__":
    main()
