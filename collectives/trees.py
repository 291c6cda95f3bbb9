"""Who talks to whom in trees, for any p: ranks are counted from the root, v = (rank - root) % p."""

from __future__ import annotations


def binomial_parent(v: int) -> int:
    """Return the parent of v > 0: v without its lowest bit.

    binomial_parent(6)  # 4
    """
    return v & (v - 1)


def binomial_children(v: int, p: int) -> list[int]:
    """Return the children of v, that with the largest subtree first: v plus each power of two below its lowest bit.

    The subtree of a child c = v + 2^k is c, ..., c + 2^k - 1, as far as these are below p.

    binomial_children(4, 8)  # [6, 5]
    """
    lowest = v & -v if v else 1 << (p - 1).bit_length()
    children = []
    while lowest > 1:
        lowest //= 2
        if v + lowest < p:
            children.append(v + lowest)
    return children


def binomial_end(v: int, p: int) -> int:
    """Return where the subtree of v ends: it is v, v+1, ..., end-1.

    binomial_end(4, 7)  # 7
    """
    return min(v + (v & -v), p) if v else p
