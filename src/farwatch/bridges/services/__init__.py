"""One file or a few per chat or push service; each offers a `KIND`."""
