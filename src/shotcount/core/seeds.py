"""Seeds of all random generators, derived from names and never from the order of calls.

So a new cell, seed or stage changes no other draw.
"""

import hashlib


def seed_for(*key: str | int) -> int:
    """Return a 63-bit seed that depends on every part of `key` and on nothing else.

    The parts name the draw, from the general to the particular:

    >>> seed_for("subset", 0, 1) == seed_for("subset", 0, 1)
    True
    >>> seed_for("subset", 0, 1) == seed_for("subset", 0, 2)
    False
    """
    # blake2b, not hash(): Python salts hash() differently in every process.
    # 63 bits, since torch.Generator takes a signed 64-bit seed.
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
