"""The engine's thread: schedules sequences and handles the output of each step."""
