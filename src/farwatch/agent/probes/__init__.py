"""Measuring machine, processes and GPUs: one file per source, each a `Probe`."""
