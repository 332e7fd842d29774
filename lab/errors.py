"""What can go wrong in the lab."""


class LabError(Exception):
    """The lab cannot do what was asked; the message is one sentence for a person, with what to do where known."""
