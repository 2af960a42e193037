"""`python -m dltk` is the command `dltk`."""

from dltk.cli import main

if __name__ == "__main__":
    main()
