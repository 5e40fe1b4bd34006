"""`python -m farwatch.cli`."""

from farwatch.cli import main

main()
