"""``mlxq connect``: how agents and other programs are set up for a service.

``setups.py`` prints and writes; ``agents.py`` lists the programs, whose texts are in
``terminal_agents.py``, ``editors.py`` and ``programs.py``; ``formats`` changes configuration files
without losing what is in them.
"""
