class StackError(Exception):
    """The services cannot run here; the text says what is wrong and what to do."""
