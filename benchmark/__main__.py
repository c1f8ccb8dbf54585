"""`python -m benchmark` is the `trustad` command."""

from benchmark.cli import main

if __name__ == "__main__":  # worker processes import this module again
    main()
