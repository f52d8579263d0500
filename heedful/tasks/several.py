"""Several texts at once, as what is loaded takes them."""


def several(texts: object, method: str) -> None:
    """Raise TypeError for one text in place of several, whose letters would be read as texts."""
    if isinstance(texts, str):
        raise TypeError(f"{method} takes a list of texts, and got one: put it into [ ].")
