"""The answers to the exercises of the notebooks, in order, as code: `test_notebooks.py` gives them to the checks.

An answer is a value, for a cell with `answer = ...`, or a whole function, for one with `def answer(...):`.
"""

ANSWERS: dict[str, list[str]] = {
    "01_ring_allreduce": ["(10, 40_000)", "1", "[0, 1, 0]", "2**18"],
    # ---
    "02_dissemination_barrier": ["6", "(3, 4)", "4", "8.1"],
    # ---
    "03_bitonic_sort": ["20", "(1, 2)", "False", "[4, 8]"],
    # ---
    "04_ulysses": [
        "4 * 2**20 * (40 * 128) * 7 // 8**2",
        "np.exp(lse_a - np.logaddexp(lse_a, lse_b))",
        "(7 * (4 + 2) + 7 * 4, 31 * (1 + 2) + 31 * 1)",
        "2 - 1 / 32",
    ],
    # ---
    "05_which_collective": [
        "4 * (1 + 10**6 / 10_000)",
        "3 * 3e-6 / (1.25 * 100e-12)",
        "7 / 8",
        "(6, 63 / 64)",
    ],
    # ---
    "06_anatomy_of_a_hang": ["512", "[3, 5, 7, 9]", '"a"', "(120, 1)"],
    # ---
    "07_honest_speed_up": ["1.15 / 1.05", "8", "False", "99"],
    # ---
}
