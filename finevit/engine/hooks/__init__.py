"""Hooks of the training loop, a file each."""
