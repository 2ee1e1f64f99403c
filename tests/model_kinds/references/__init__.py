"""What a kind's answers are compared with: its library, or the formula where that is wrong."""
