"""Errors that a user can act on."""

BEGINNING, END = 600, 300
"""Letters of a longer message that are kept: libraries may quote whole files, and what to do stands at the end."""


class InputError(ValueError):
    """An input that cannot be used; the message names the input, what is wrong and what to do.

    It is one line whatever names and contents it quotes: line ends become blanks, and signs that would steer a terminal
    are written as escapes; of a very long one the middle is left out.
    """

    def __init__(self, message: object = "") -> None:
        text = printable(" ".join(str(message).splitlines()))
        super().__init__(text if len(text) <= BEGINNING + END else f"{text[:BEGINNING]} ... {text[-END:]}")


def printable(text: str) -> str:
    """The text with escapes for what would steer a terminal, as the names of files may hold."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else " " if c.isspace() else ascii(c)[1:-1] for c in text)
