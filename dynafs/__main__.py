"""`python -m dynafs` is the `dynafs` command."""

from dynafs.cli.main import run

if __name__ == "__main__":
    run()
