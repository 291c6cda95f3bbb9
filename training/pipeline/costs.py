"""What the named schedules cost, as formulas: bubble, activations in flight and messages. The tests count them again.

F, I, W and B = I + W are the times of the passes of one stage, so of one chunk; all stages take the same.

| schedule      | bubble of rank 0              | if                     | activations of rank r          | messages |
| ------------- | ----------------------------- | ---------------------- | ------------------------------ | -------- |
| gpipe         | (p-1)(F+B)                    |                        | m                              | 2m(p-1)  |
| 1f1b          | (p-1)(F+B)                    |                        | min(m, p-r)                    | 2m(p-1)  |
| interleaved   | (p-1)(F+B)                    | p divides m            | min(mv, 2(p-1-r) + (v-1)p + 1) | 2m(pv-1) |
| breadth-first | (p-1)(F+B)                    | m >= p                 | mv                             | 2m(pv-1) |
| zb-h1         | (p-1)(F+I-W)                  | m >= p, W <= F         | min(m, p)                      | 2m(p-1)  |
| zb-h2         | (p-1) max(0, F+I-2W)          | m >= 2p-1, W <= F      | min(m, 2p-1)                   | 2m(p-1)  |
| zb-v          | 2(p-1)(I-W)                   | m >= 2p-1, W <= F <= I | 2p                             | 4m(p-1)  |
| dualpipe      | (p/2-1)(F+I-W)                | W <= I <= F <= B       | p+1                            | 2m(p-1)  |
| ... with FB   | (p/2-1)(2FB - min(F, I) - 3W) | FB >= F, B             |                                |          |
| dualpipe-v    | dualpipe's with p for p/2     |                        | 2p+1                           | 4m(p-1)  |

Those of DualPipe are for even p and m, m >= 2p. Its README gives (p/2-1)(FB + B - 3W), which the count confirms only if
FB = F + B and F <= I. ZB-H2 idles (p-1) max(F, F+I-2W) in the whole step, since its ranks start and end apart.
"""

from __future__ import annotations

from typing import Any

Time = Any


def bubble(name: str, p: int, m: int, F: Time, I: Time, W: Time, FB: Time | None = None) -> Time | None:
    """Return how long rank 0 idles between its first and its last operation, or None where no formula is known.

    bubble("1f1b", 4, 8, F=1, I=1, W=1)  # 9
    """
    if name in ("dualpipe", "dualpipe-v"):
        half = p if name == "dualpipe-v" else p // 2
        if m < 2 * p or (name == "dualpipe" and (p % 2 or m % 2)):
            return None
        if FB is not None:
            return (half - 1) * (2 * FB - min(F, I) - 3 * W) if max(F, I + W) <= FB and min(F, I) >= W else None
        return (half - 1) * (F + I - W) if W <= I <= F <= I + W else None
    formula, fits = {
        "gpipe": ((p - 1) * (F + I + W), True),
        "1f1b": ((p - 1) * (F + I + W), True),
        "interleaved": ((p - 1) * (F + I + W), m % p == 0),
        "breadth-first": ((p - 1) * (F + I + W), m >= p),
        "zb-h1": ((p - 1) * (F + I - W), m >= p and W <= F),
        "zb-h2": ((p - 1) * max(0, F + I - 2 * W), m >= 2 * p - 1 and W <= F),
        "zb-v": (2 * (p - 1) * (I - W), m >= 2 * p - 1 and W <= F <= I),
    }[name]
    return formula if fits else None


def latency_of_1f1b(p: int, m: int, c: Time) -> Time:
    """Return what a message's latency c adds to the time of 1F1B, in which most microbatches wait for two messages.

        latency_of_1f1b(4, 8, 1)  # 16, where GPipe takes 2(p-1) more for any m

    It is 2c(p-1)m/p + 2c(p-2) where p divides m. A rank has no other work while it waits for an answer.
    """
    return 2 * c * (p - 2 + m - -(-(m - 1) // p)) if p > 1 else 0 * c


def peak_activations(name: str, p: int, m: int, v: int = 1) -> tuple[int, ...] | None:
    """Return the most activations that each rank keeps at once, one a stage and microbatch, or None as in bubble.

    peak_activations("1f1b", 4, 8)  # (4, 3, 2, 1)
    """
    warm_up = range(2 * (p - 1), -1, -2)
    per_rank, fits = {
        "gpipe": ([m] * p, True),
        "1f1b": ([min(m, p - r) for r in range(p)], True),
        "interleaved": ([min(m * v, each + (v - 1) * p + 1) for each in warm_up], m % p == 0),
        "breadth-first": ([m * v] * p, True),
        "zb-h1": ([min(m, p)] * p, True),
        "zb-h2": ([min(m, 2 * p - 1)] * p, True),
        "zb-v": ([2 * p] * p, m >= 2 * p - 1),
        "dualpipe": ([p + 1] * p, p % 2 == 0 and m % 2 == 0 and m >= 2 * p),
        "dualpipe-v": ([2 * p + 1] * p, m >= 2 * p),
    }[name]
    return tuple(per_rank) if fits else None


def messages(name: str, p: int, m: int, v: int = 1) -> int:
    """Return the messages of all ranks in a step: each microbatch crosses every border between ranks twice.

    messages("interleaved", 4, 8, v=2)  # 112
    """
    borders = 2 * (p - 1) if name in ("zb-v", "dualpipe-v") else p * v - 1
    return 2 * m * borders * (p > 1)
