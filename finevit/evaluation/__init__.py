"""Evaluation: measures on plain tensors (``functional``) and their MMEngine metrics (``metrics``)."""
