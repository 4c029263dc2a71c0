"""Manifests of orchestrators, read with their places in the text, and edits that keep the rest. Pure."""
