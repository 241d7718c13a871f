"""The user's mistakes. Each message is one line: what was found, what was expected, where.

The command line prints it and exits with 2; anything else that escapes is ours and exits with 1.
"""

import re


class NliftError(Exception):
    """A mistake that the user can fix; `str()` is the line that says how."""


class ConfigError(NliftError):
    """A wrong key or value in an experiment file or after `--set`."""


class DataError(NliftError):
    """A data file that is missing, empty, or not in the form that was promised."""


class ModelError(NliftError):
    """A model that is missing, corrupt, or of the wrong kind."""


class ArtifactError(NliftError):
    """A folder that is not ours, incomplete, or does not belong with another one."""


class ResourceError(NliftError):
    """The machine or the cluster does not have what the experiment asks for."""


class MemoryShortageError(ResourceError):
    """Memory did not suffice; the stage says which setting needs less of it."""


def first_line(error: BaseException) -> str:
    """An error's message in one line; the name of its class where it has no text."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error))  # colours, as torch has them in some
    return (text.strip().splitlines() or [type(error).__name__])[0]
