"""The one error for bad input: what is wrong, and how to mend it."""


class InputError(ValueError):
    """A mistake in what the caller gave: data, configuration, shapes, names.

    The command line prints its message as one line and exits with code 2; libraries may catch it as a ``ValueError``.
    """
