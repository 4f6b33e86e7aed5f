"""FineCap: from raw images to dense global and regional recaptions, in passes over shards (paper, section on the data)."""
