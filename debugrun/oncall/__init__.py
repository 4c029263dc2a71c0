"""What a person on call asks first: who waits for what, every stack, a picture, a core; the target is not touched."""
