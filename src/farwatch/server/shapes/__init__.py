"""What goes over HTTP, by subject; see `farwatch.server.schema` for how it is written.

Names are those of the glossary. Names that end in `_ms` are milliseconds, of a moment since 1970 in UTC.
"""
