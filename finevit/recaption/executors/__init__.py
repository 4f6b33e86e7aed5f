"""What runs the tasks of a pass: each file has one way. The tasks are the same, and so are the bytes that they write."""
