"""The answers to the exercises of the notebooks, in order, as code: `test_notebooks.py` gives them to the checks.

An answer is a value, for a cell with `answer = ...`, or a whole function, for one with `def answer(...):`.
"""

import re

# What the reader fills in: a value, or a function, which stands there empty or wrong.
ANSWER = re.compile(r"^answer = \.\.\.|^def answer\(.*\n(?:[ \t].*(?:\n|\Z)|\n(?=[ \t\n]*[ \t]))+", re.MULTILINE)


def filled_in(answer: str) -> str:
    """Return an answer as it is written into its cell: a function as it is, or else a value."""
    return answer if answer.startswith("def answer(") else f"answer = {answer}"


ANSWERS: dict[str, list[str]] = {
    "00_a_simulator_in_a_hundred_lines": [
        "180",
        "[0, 1, 2, 5, 6, 7]",
        """\
def answer(rank, p, gift):
    have = 1  # ranks below this number have the gift
    while have < p:
        if rank < have and rank + have < p:
            yield Send(gift, rank + have)
        if have <= rank < 2 * have:
            gift = yield Recv(rank - have)
        have *= 2
    return gift
""",
        """\
def answer(rank, p):
    left, right = (rank - 1) % p, (rank + 1) % p
    yield Send(rank, right, tag=1)
    yield Send(rank, left, tag=2)
    from_left = yield Recv(left, tag=1)
    from_right = yield Recv(right, tag=2)
    return rank + from_left + from_right
""",
    ],
    # ---
    "01_ring_allreduce": [
        "(10, 40_000)",
        "1",
        "[0, 1, 0]",
        "2**18",
        """\
def answer(comm, x):  # first among three, then with the other three
    trio, place = comm.rank // 3 * 3, comm.rank % 3
    total, came = x.copy(), np.empty_like(x)
    for step in (1, 2):
        comm.Sendrecv(x, trio + (place + step) % 3, 0, came, trio + (place - step) % 3)
        total += came
    other = (comm.rank + 3) % 6
    comm.Sendrecv(total, other, 0, came, other)
    return total + came
""",
    ],
    # ---
    "02_dissemination_barrier": [
        "6",
        "(3, 4)",
        "4",
        "8.1",
        """\
def answer(comm):  # ranks beyond the largest power of two come in through a partner, and hear from it at the end
    half = 1 << comm.size.bit_length() - 1
    if comm.rank >= half:
        comm.send(None, comm.rank - half)
        comm.recv(source=comm.rank - half)
        return
    has_partner = comm.rank + half < comm.size
    if has_partner:
        comm.recv(source=comm.rank + half)
    distance = 1
    while distance < half:
        comm.sendrecv(None, comm.rank ^ distance, source=comm.rank ^ distance)
        distance *= 2
    if has_partner:
        comm.send(None, comm.rank + half)
""",
    ],
    # ---
    "03a_bitonic_sort": [
        "(1, 2)",
        "32 * 31 + 2",
        """\
def answer():  # Batcher's odd-even merge of 8 wires, without the last wire
    halves = [(0, 4), (1, 5), (2, 6), (0, 2), (1, 3), (4, 6), (2, 4), (3, 5)]
    return halves + [(0, 1), (2, 3), (4, 5), (1, 4), (3, 6), (1, 2), (3, 4), (5, 6)]
""",
    ],
    # ---
    "03b_a_missing_comparator": [
        "False",
        "58",
        """\
def answer():
    return [(6, 5, 0, 2, 7, 4, 3, 1), (6, 5, 7, 4, 2, 0, 3, 1)]
""",
    ],
    # ---
    "03c_how_fast_is_a_network": [
        "20",
        "[4, 8]",
        """\
def answer(comm, block):
    for low, high in [(0, 1), (2, 3), (0, 2), (1, 3), (1, 2)]:
        block = split(comm, block, low, high)
    return block
""",
    ],
    # ---
    "04_ulysses": [
        "4 * 2**20 * (40 * 128) * 7 // 8**2",
        "np.exp(lse_a - np.logaddexp(lse_a, lse_b))",
        "(7 * (4 + 2) + 7 * 4, 31 * (1 + 2) + 31 * 1)",
        "2 - 1 / 32",
        """def answer(comm, mine, share):
    p, rank, n = comm.size, comm.rank, len(mine)
    out = np.empty((p, n, len(range(*share[rank].indices(mine.shape[1])))), mine.dtype)
    out[rank] = mine[:, share[rank]]
    for step in range(1, p):  # no two ranks send to the same one
        to, source = (rank + step) % p, (rank - step) % p
        comm.Sendrecv(np.ascontiguousarray(mine[:, share[to]]), to, recvbuf=out[source], source=source)
    return out.reshape(p * n, -1)
""",
    ],
    # ---
    "05_which_collective": [
        "4 * (1 + 10**6 / 10_000)",
        "3 * 3e-6 / (1.25 * 100e-12)",
        "7 / 8",
        "(6, 63 / 64)",
        """def answer(comm, x):
    charge, others = ranks.reduction_clock(comm), [r for r in range(comm.size) if r != comm.rank]
    came = np.empty((comm.size, *x.shape), x.dtype)
    came[comm.rank] = x
    requests = [comm.Irecv(came[r], r) for r in others]
    for step in range(1, comm.size):  # no two ranks send to the same one
        comm.Send(x, (comm.rank + step) % comm.size)
    for request in requests:
        request.Wait()
        charge(x.nbytes)
    return came.sum(0)
""",
    ],
    # ---
    "06_anatomy_of_a_hang": [
        "512",
        "[3, 5, 7, 9]",
        '"a"',
        "(120, 1)",
        """def answer(comm):
    left, right = (comm.rank - 1) % comm.size, (comm.rank + 1) % comm.size
    from_right = comm.sendrecv(comm.rank, left, source=right)  # all pass their number to the left,
    from_left = comm.sendrecv(comm.rank, right, source=left)  # then all to the right
    return from_left, from_right
""",
    ],
    # ---
    "07_honest_speed_up": [
        "1.15 / 1.05",
        "8",
        "False",
        "99",
        """def answer(stopwatch):
    rng = np.random.default_rng(0)
    calls = np.concatenate([rng.permutation(2) for _ in range(31)])  # in turns, in an order drawn anew
    seconds = stopwatch(calls)
    return np.median(seconds[calls == 1] / seconds[calls == 0])
""",
    ],
    # ---
    "08_one_loss_curve": [
        "[5, 7]",
        "3 * 4 / 2",
        "4.5 * 512",
        """\
def answer(comm, logits, first, classes, labels):
    top = ring_allreduce(comm, logits.max(1), np.maximum)
    place = labels - first
    here = (place >= 0) & (place < logits.shape[1])
    of_label = np.where(here, logits[np.arange(len(labels)), np.where(here, place, 0)], 0)
    sums, of_label = ring_allreduce(comm, np.stack([np.exp(logits - top[:, None]).sum(1), of_label]))
    return float((np.log(sums) + top - of_label).sum())
""",
    ],
    # ---
    "09_pipeline_bubbles": [
        "64",
        "2 * 8 * (4 * 4 - 1)",
        '"zb-v"',
        "def answer(rank, p):\n    return 2 * (p - 1 - rank)\n",
        """def answer():
    return [
        "F0 F1 I0 W0 F2 I1 W1 F3 I2 W2 I3 W3",
        "F0 F1 I0 W0 I1 W1 F2 F3 I2 W2 I3 W3",
        "F0 I0 W0 F1 I1 W1 F2 I2 F3 I3 W2 W3",
    ]
""",
    ],
    # ---
    "10_hidden_bugs": [
        "1",
        "0.1 * 5 / 8",
        "1 / 8**2",
        """\
def answer(training, healthy):
    norms = [each.norms[0] for each in healthy]
    return not min(norms) / 1.2 < training.norms[0] < max(norms) * 1.2
""",
    ],
    # ---
}
