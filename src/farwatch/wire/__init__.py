"""Words that cross a border: identifiers, states, record kinds, and the bytes of journals and batches.

Standard library only; imports nothing from above. `docs/protocol.md` is the same in prose, and is tested against it.
"""
