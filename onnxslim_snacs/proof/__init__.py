"""The proof that a cut model computes what the plan says."""
