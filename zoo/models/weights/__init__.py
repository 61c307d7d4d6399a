"""Weights of models: finding, reading, converting and loading them."""
