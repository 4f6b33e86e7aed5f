"""Checkpoints in the formats of other libraries, and weights of other encoders in ours: docs/export.md.

One module for each target, registered in ``EXPORTERS``. ``templates`` holds the code that travels with the weights; it needs
nothing of this package.
"""
