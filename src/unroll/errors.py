"""The exceptions that are meant for the person at the keyboard."""


class UserError(Exception):
    """A mistake that its user can mend: what is wrong and where, what is allowed, how to fix it.

    The command line prints it without a traceback and exits with `exit_code`.
    """

    exit_code = 2

    def __init__(self, what: str, *, allowed: str = "", fix: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.allowed = allowed
        self.fix = fix

    def __str__(self) -> str:
        parts = [self.what]
        if self.allowed:
            parts.append(f"  allowed: {self.allowed}")
        if self.fix:
            parts.append(f"  fix: {self.fix}")
        return "\n".join(parts)


class MachineError(UserError):
    """The machine fails, not its user: a disk that is full or broken, a limit of the system."""

    exit_code = 1


def install(extra: str) -> str:
    """Return the command that installs an optional part, from an index and in a clone."""
    return f'pip install "unroll-lm[{extra}]", or in a clone: pip install ".[{extra}]"'
