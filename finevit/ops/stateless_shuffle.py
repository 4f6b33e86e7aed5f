"""A stateless shuffle: where a training run is in its data is one integer."""

_MASK = (1 << 64) - 1


def shuffled(position: int, length: int, seed: int) -> int:
    """The ``position``-th element of an endless shuffled order over ``range(length)``.

    Every epoch (``length`` positions) visits each index exactly once, in an order of its own. Constant time and memory for any
    length: a four-round Feistel network over the next power of four, walked until it lands inside the range.
    """
    epoch, value = divmod(position, length)
    half = max(1, ((length - 1).bit_length() + 1) // 2)
    mask = (1 << half) - 1
    while True:
        left, right = value >> half, value & mask
        for turn in range(4):
            left, right = right, left ^ (_mix(right, turn, epoch, seed) & mask)
        value = (left << half) | right
        if value < length:
            return value


def _mix(*values: int) -> int:
    """A 64-bit hash of small integers (the finaliser of splitmix64)."""
    state = 0
    for value in values:
        state = (state + value + 0x9E3779B97F4A7C15) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        state ^= state >> 31
    return state


def seed_of(*values: int) -> int:
    """A 63-bit seed derived from several integers, such as (run seed, step, rank)."""
    return _mix(*values) >> 1
