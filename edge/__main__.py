"""`python -m edge` is `fleetfold-edge`."""

from edge.cli import app

if __name__ == "__main__":
    app()
