"""The tools: their data files, the image that holds them, and the volume."""
