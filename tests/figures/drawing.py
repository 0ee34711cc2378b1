"""What the tests of figures share."""


def render(figure):
    """Draw to the last pixel, where a bad label or a negative size shows; returns the axes."""
    figure.canvas.draw()
    return figure.axes
