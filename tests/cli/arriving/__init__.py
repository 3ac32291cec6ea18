"""What shows that each option arrives where it acts, by what it is about."""
