"""What a person on call asks first: what a look at processes is worth, and how it is said."""
