"""A container recreated with more, and put back as it was."""
