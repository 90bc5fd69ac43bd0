"""Low dose: CT slices from 120 views of 1e3 to 1e5 photons per ray, otherwise as in `ct_sparse_view`.

Counts are Poisson, I0 exp(-A x) on average; their negative logarithms are the line integrals p, whose variance 1 / I
weighs the rays, so that those which few photons passed count little. Filtered backprojection knows no weights.

    python recipes/ct_low_dose.py --data ct_train.h5 --slices 4 --out ct_low_dose.png
"""

from ct_sparse_view import Scan, main

SCANS = {f"{photons:g} photons": Scan(120, photons=photons) for photons in (1e3, 1e4, 1e5)}

if __name__ == "__main__":
    main(SCANS, __doc__)
