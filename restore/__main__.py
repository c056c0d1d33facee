"""``python -m restore``: the command."""

from restore.cli import main

if __name__ == "__main__":
    main()
