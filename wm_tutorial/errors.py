"""The errors a user can meet: each says what was given, what is accepted, and what to do next."""


class WorldModelError(Exception):
    """Base of every error this package raises on purpose; the command line prints it without a traceback."""


class InputError(WorldModelError, ValueError):
    """An argument, option, space or array that cannot be used."""


class EnvironmentFailure(WorldModelError, RuntimeError):
    """The environment raised, or returned something that is not a number."""


class NonFiniteError(WorldModelError, ArithmeticError):
    """A loss became infinite or not a number."""


class CheckpointError(WorldModelError, ValueError):
    """A checkpoint that cannot be read, or that belongs to something else."""


class OutputError(WorldModelError, OSError):
    """A folder or file that cannot be written."""
