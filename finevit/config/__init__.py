"""From a config file and its overrides to a checked config."""
