"""What a recreated container has to be like, and the order of steps that loses nothing."""
