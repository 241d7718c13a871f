"""The user's mistakes. Each message is one line: what was found, what was expected, where.

The command line prints it and exits with 2; anything else that escapes is ours and exits with 1.
"""


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
    """The cluster does not have what the experiment asks for."""
