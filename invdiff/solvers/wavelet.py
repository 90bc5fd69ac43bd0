REFERENCE = ""


def wavelet(*a, **k):
    pass
