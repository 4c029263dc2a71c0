"""What is known: facts, and how what others print becomes facts."""
