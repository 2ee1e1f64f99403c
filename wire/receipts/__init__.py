"""What is kept of a chat that has ended, beside its log: for its receipt, and to run it again."""
