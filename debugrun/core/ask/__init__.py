"""What was asked, as plain values."""
