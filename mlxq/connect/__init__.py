"""``mlxq connect``: how agents and other programs are set up for a service.

``agents.py`` lists the programs, ``terminal_agents.py``, ``editors.py`` and ``programs.py`` hold
their texts, ``formats`` changes configuration files without losing what is in them.
"""
