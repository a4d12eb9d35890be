"""``python -m neural.tracking.cli`` is ``ntrack``, also if the script is not on the path."""

from neural.tracking.cli.app import main

if __name__ == "__main__":
    main(prog_name="ntrack")
