"""Attention on one rank: dense and blockwise, which heads and which keys. It knows no communicator."""
