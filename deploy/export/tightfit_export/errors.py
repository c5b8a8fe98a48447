"""What ends an export, each with the exit code of the process."""


class ExportError(Exception):
    """One line for the person at the terminal."""

    exit_code = 1


class SourceError(ExportError):
    """The source, the destination or the command line does not permit an export."""

    exit_code = 2


class VerificationError(ExportError):
    """What was written does not compute what the source computes."""

    exit_code = 1
