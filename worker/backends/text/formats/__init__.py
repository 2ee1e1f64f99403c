"""How models mark thinking and tool calls in their output, one family of formats a file."""
