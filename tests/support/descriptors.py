"""Which files this process has open."""

import os


def open_below(directory):
    """Paths of our descriptors below `directory`, sorted."""
    paths = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            paths.append(os.readlink(f"/proc/self/fd/{fd}"))
        except FileNotFoundError:
            continue  # that of the listing itself, or closed meanwhile
    return sorted(path for path in paths if path.startswith(f"{directory}/"))
