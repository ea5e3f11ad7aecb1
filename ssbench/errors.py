"""The two ways in which ssbench stops: the input is wrong, or one run could not be finished."""


class BadInputError(Exception):
    """Something the user wrote or asked for cannot be used; ends with exit code 2.

    The message names the place (file, key path or option), what is wrong and the remedy.
    """


class RunFailedError(Exception):
    """One run cannot go on (diverged, out of memory, a method raised); the other runs do."""


class NoRoomError(RunFailedError):
    """Memory does not suffice for a training step."""


class DivergedError(RunFailedError):
    """The loss of a training is no longer a finite number.

    Attributes:
        epoch: the first one of the stage of which that is so.
    """

    def __init__(self, loss: float, epoch: int, of: int) -> None:
        super().__init__(f"diverged: the training loss is {loss} in epoch {epoch} of {of}")
        self.epoch = epoch
