"""Where a program without a run leaves messages, and how: a folder for each, beside the journals, named by its id.

`message.json`: `text`, `made_ms` (ms since 1970, UTC), `server` (an address; null for this user's own), and for `image` and `file` their
`name` and `media_type`; their bytes are files of these names beside it.
"""

FOLDER = "messages"
BODY = "message.json"
PARTS = ("image", "file")
FILE_MAX_BYTES = 64 << 20  # what a server takes
