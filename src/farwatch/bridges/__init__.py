"""One file per chat or push service, one dispatcher, one language; the rest of the server knows of none of them."""
