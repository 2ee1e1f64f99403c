"""Grammars of the tool calls that models write, in Lark's syntax with llguidance's additions."""
