"""The version, for the wheel, the wire and `--version`."""

VERSION = "0.1.0"
