"""The dependency IR: axes, slots, ties, pins, units and groups; it knows nothing of operators."""
