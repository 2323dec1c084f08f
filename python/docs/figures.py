"""Draw."""


def draw_all(folder):
    folder.mkdir(exist_ok=True)
