"""The commands about models: ``mlxq pull``, ``list``, ``show``, ``rm``, ``load``, ``unload``, and
the same below ``mlxq models``."""
