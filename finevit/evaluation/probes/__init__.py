"""Probes of a frozen encoder, by DINOv3's protocols as far as they go: what small models can read out of its features.

Everything but ``features`` and ``data`` is pure functions on tensors. What equals DINOv3's and what differs: docs/probes.md.
"""

PROBES = ("linear", "knn", "attentive", "segmentation", "regions")
