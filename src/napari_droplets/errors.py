"""Errors that a user can act on."""


class InputError(ValueError):
    """An input that cannot be used; the message names the input, what is wrong and what to do."""
