"""`python -m singer`."""

from singer.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
