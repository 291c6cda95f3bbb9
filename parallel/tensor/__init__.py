"""Matrices of which each rank holds a part, as Megatron cuts them. It knows their sums, and not how attention works."""
