"""Where models come from: checkpoint files and packages, tokenizers and chat templates, and the cache of what is fetched once."""
