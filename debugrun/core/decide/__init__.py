"""What is decided: the options, their order, and the one that is chosen."""
