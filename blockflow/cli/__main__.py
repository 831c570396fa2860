"""`python -m blockflow.cli`."""

from blockflow.cli import main

main()
