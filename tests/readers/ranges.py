"""Ranges that readers give up, as tests compare them: however they are cut."""


def merged(ranges):
    """Ranges (start, end) in order, those that touch as one."""
    whole = []
    for start, end in sorted(ranges):
        assert start < end
        if whole and whole[-1][1] == start:
            whole[-1] = (whole[-1][0], end)
        else:
            whole.append((start, end))
    return whole
