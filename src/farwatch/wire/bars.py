"""Where bars keep the chats that programs name, for this user's server on the same machine: a 0600 file of the state folder.

`{"version": 1, "bars": {digest: {"kind": "telegram", "values": {field: text}, "used_ms": …}}}`
"""

FILE = "bars.json"
VERSION = 1
KEPT_MAX = 200
KEPT_MS = 30 * 86_400_000
