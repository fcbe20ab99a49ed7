"""`python -m mailmove`."""

from mailmove.cli import main

main()
