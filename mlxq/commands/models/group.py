"""``mlxq models``: the commands about models under their longer names."""

from __future__ import annotations

from mlxq.command_group import command_group
from mlxq.commands.models.listing import show, show_list
from mlxq.commands.models.memory import delete, load, register, scan, unload, unpin
from mlxq.commands.models.pulling import pull

models = command_group(
    "models",
    {
        "list": show_list,
        "show": show,
        "load": load,
        "unload": unload,
        "unpin": unpin,
        "scan": scan,
        "register": register,
        "pull": pull,
        "download": pull,
        "delete": delete,
        "rm": delete,
    },
    text="List, show, load, unload, find, download and delete models.",
)
