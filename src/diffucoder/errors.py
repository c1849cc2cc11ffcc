"""The project's exceptions: every one names what was wrong, where, and what to do."""


class DiffucoderError(ValueError):
    """Base of all errors that a user can cause and mend."""


class BadParameters(DiffucoderError):
    """A parameter is unknown, missing or out of range."""


class BadData(DiffucoderError):
    """A source, a problem file, a shard or a tokenizer cannot be used."""


class BadCheckpoint(DiffucoderError):
    """A checkpoint directory is incomplete or of a shape that cannot be used."""


class MissingInput(DiffucoderError):
    """A pipeline was asked to run without an artefact that an earlier one makes."""


class TrainingFailed(DiffucoderError):
    """A training process ended before its work was done."""


class SandboxUnavailable(DiffucoderError):
    """This machine offers no way to contain the code that would be run."""
