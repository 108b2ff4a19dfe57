"""The command line, as `python -m shotcount`."""

from shotcount.cli import run

if __name__ == "__main__":
    run()
