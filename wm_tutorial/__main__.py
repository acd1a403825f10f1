"""`python -m wm_tutorial` is the command line."""

from wm_tutorial.cli import main

if __name__ == "__main__":
    main()
