"""The smallest grant that still passes a check: the parts of a line, and in which order they are tried. Pure."""
