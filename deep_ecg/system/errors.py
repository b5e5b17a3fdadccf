"""What goes wrong by the user's hand: one line that names it and the mend."""

LONGEST_MESSAGE = 1000


class DeepECGError(ValueError):
    """A wrong input or setting. The message is one line that names it and the mend; entry points exit with 2.

    What cannot be printed becomes a space, for names come from files of others, and a very long line is cut.
    """

    status = 2

    def __init__(self, message: str):
        line = "".join(letter if letter.isprintable() else " " for letter in message[:LONGEST_MESSAGE])
        super().__init__(line + "..." * (len(message) > LONGEST_MESSAGE))


class NoOutput(DeepECGError):
    """No results can be written any more: the disk is full, or their folder is gone. More work would be lost."""


class PartlyDone(DeepECGError):
    """Some of many inputs were wrong and left out, the others are done; entry points exit with 3."""

    status = 3


class NoBeats(DeepECGError):
    """All is done, but in a record or stream no beat was found; entry points exit with 4."""

    status = 4
