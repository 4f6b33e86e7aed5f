"""The tasks of Stage III: one file a task, with all that is particular to it. A new task is a new file here, or in a plugin."""
