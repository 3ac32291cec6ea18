"""Cut models beside the original: how far, and how fast."""
