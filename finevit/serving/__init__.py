"""A checkpoint as an OpenAI-compatible endpoint of vision chat completions, for the harnesses that score models over HTTP."""
