"""The inbox: the journal's mirror image, a ring of slots by which commands reach a trainer.

One file beside the journal, made by the trainer, written by the agent. 64 bytes of header, then slots of one size. A slot holds
a commit word (length << 32 | CRC-32 of the payload seeded with the CRC of writer id and number) and the payload, which is written
first; then the agent raises `WRITTEN`. The trainer takes record `taken` from slot `taken % SLOTS`, and raises `TAKEN`: the agent
never writes past it. Nothing else tells an agent that comes later what has been written: it reads the newest slot.
"""

import zlib

INBOX = "inbox"
MAGIC = int.from_bytes(b"FWINBX\0\1", "little")
SLOTS = 16
SLOT_SIZE = 2_048  # bytes
HEADER_SIZE = 64
SIZE = HEADER_SIZE + SLOTS * SLOT_SIZE
PAYLOAD_MAX = SLOT_SIZE - 8

# Words of 8 bytes in the header.
MAGIC_WORD = 0
WRITTEN = 4  # how many records the agent has written
TAKEN = 5  # how many the trainer has taken


def word_at(number: int) -> int:
    """Index of the commit word of record `number`, in 8-byte words."""
    return (HEADER_SIZE + number % SLOTS * SLOT_SIZE) >> 3


def seed(writer_id: str, number: int) -> int:
    """What the CRC of record `number` begins with."""
    return zlib.crc32(bytes.fromhex(writer_id) + number.to_bytes(8, "little"))
