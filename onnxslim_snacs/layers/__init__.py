"""The layers that read channels, and the second moments of what they read."""
