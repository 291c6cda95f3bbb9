"""Matrices that are split over ranks, as Megatron splits them. It knows their sums, and not how attention works."""
