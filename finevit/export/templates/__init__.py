"""Code that travels with exported weights: it imports torch and the target's library alone, never ``finevit``."""
