"""Encoded image bytes to upright RGB pixels, within bounds that are checked before anything is decoded."""
