"""Put a debug tool on a process in a container with the least privilege that works."""

__version__ = "0.1.0"

CEILING_VARIABLE = "DEBUGRUN_MAX_GRANT"  # of the environment: the default of --max-grant
NO_HOME = "/proc/no-home"  # stands for folders of a user who has no home: nothing is there, and nobody can write
