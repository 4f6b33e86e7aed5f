"""What is done to a shard, one file a pass. A new pass is one new file, or one class of a plugin."""
