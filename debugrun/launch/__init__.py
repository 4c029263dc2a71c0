"""A program started under a tool, as `docker run` would start it."""
