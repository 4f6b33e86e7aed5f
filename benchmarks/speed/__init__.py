"""How fast FineViT is beside its peers, on the same work: what ``tools/bench.py`` runs."""
