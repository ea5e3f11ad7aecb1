"""Run the command line with ``python -m ssbench``."""

from ssbench.cli import main

if __name__ == "__main__":
    main()
