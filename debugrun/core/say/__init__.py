"""How it is said: text and JSON for people and programs, docker lines, records."""
