"""The settings of the service: the table, and how they are read."""

from wire.settings.field import BadSetting
from wire.settings.reading import (
    API_KEY_VARIABLE,
    CLIENT_VARIABLES,
    URL_VARIABLE,
    check_model_folders,
    data_folder,
    from_command_line,
    load,
    parser,
    shown_default,
    to_environment,
)
from wire.settings.table import LOCAL_DATA, Settings

__all__ = [
    "API_KEY_VARIABLE",
    "CLIENT_VARIABLES",
    "LOCAL_DATA",
    "URL_VARIABLE",
    "BadSetting",
    "Settings",
    "check_model_folders",
    "data_folder",
    "from_command_line",
    "load",
    "parser",
    "shown_default",
    "to_environment",
]
