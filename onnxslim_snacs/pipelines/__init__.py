"""Where other tools call this package: imported by them alone."""
