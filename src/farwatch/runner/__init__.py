"""`farwatch run -- CMD`: a program on a terminal that we own, so that its whole console and its true end are known.

Nothing here is in the program's process: `child` starts it, `relay` carries bytes and signals, `keeping` writes the
journal beside, `ends` says what an exit status means, `program` puts them together.
"""
