"""What a command cannot do, told to people: the text is shown as it is."""


class UnusableError(Exception):
    """The command line, a file or a directory cannot be used."""


class UnreachableError(Exception):
    """A broker or database did not answer in time, or refused."""
