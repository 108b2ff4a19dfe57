import subprocess
import sys

from shotcount.core.seeds import seed_for


def test_seed_is_the_same_in_another_process() -> None:
    code = "from shotcount.core.seeds import seed_for; print(seed_for('order', 1, 'cell'))"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert int(other.stdout) == seed_for("order", 1, "cell")


def test_every_part_of_the_key_counts() -> None:
    keys = [("a",), ("b",), ("a", 1), ("a", "1"), ("a", 1, 0), ("a", 10)]
    assert len({seed_for(*key) for key in keys}) == len(keys)


def test_seed_fits_torch_and_numpy() -> None:
    assert all(0 <= seed_for("x", n) < 2**63 for n in range(100))
