"""Which units stay."""
