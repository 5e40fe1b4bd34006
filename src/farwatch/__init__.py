"""Farwatch: watch and steer your training from afar."""
