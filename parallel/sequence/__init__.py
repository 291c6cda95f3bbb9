"""Attention over ranks that hold some tokens each: Ulysses, rings, both. It knows messages, and no matrix."""
