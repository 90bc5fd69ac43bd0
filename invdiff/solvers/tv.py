REFERENCE = ""


def tv(*a, **k):
    pass
