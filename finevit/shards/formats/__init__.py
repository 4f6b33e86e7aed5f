"""Layouts of images and annotations that shards are made of and written as, a file each, in the registry ``SHARD_FORMATS``."""
