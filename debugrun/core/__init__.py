"""The pure core: facts in, plan out. Imports nothing that touches the world."""
