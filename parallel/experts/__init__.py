"""Mixture of experts: a router chooses MLPs for each token, and ranks that share the experts out exchange tokens."""
