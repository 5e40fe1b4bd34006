"""The format of points on disk, without a disk: columns, the blobs that hold them, pyramids, and cutting into buckets.

Everything here is a pure function of arrays and bytes. What is written is read back bit by bit, or not at all.
"""
