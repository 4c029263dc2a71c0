"""Facts of the world: the engine, its host, a container and its processes."""
