"""Configuration files as text: JSON with comments, TOML, YAML.

Each module has ``parse``, ``render`` for a new file, and ``edit``, which puts values into a text
and leaves every other character as it is. What ``edit`` made is parsed again by its caller and
compared with what the merge should give, so a text that it doesn't understand is never written.
"""
