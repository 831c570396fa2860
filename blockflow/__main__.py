"""`python -m blockflow`."""

from blockflow.cli import main

main()
