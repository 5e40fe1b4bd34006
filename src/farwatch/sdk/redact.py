"""What `init(redact=…)` hides. The rules live in `farwatch.wire.redact`, because the agent hides the same
things."""

from farwatch.wire.redact import (
    MASK,
    REDACT,
    is_secret_name,
    mask_argv,
    mask_mapping,
    mask_shapes,
    mask_text,
    mask_url,
)

__all__ = ["MASK", "REDACT", "is_secret_name", "mask_argv", "mask_mapping", "mask_shapes", "mask_text", "mask_url"]
