"""The container engine: the way to it, and what it is asked."""
