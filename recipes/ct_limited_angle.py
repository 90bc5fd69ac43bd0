"""A limited angle: CT slices from views over 90 to 150 of 180 degrees, otherwise as in `ct_sparse_view`.

Directions that no ray ran along are missing from the data: filtered backprojection smears them, total variation and a
prior fill them in, and what they fill in is theirs.

    python recipes/ct_limited_angle.py --data ct_train.h5 --slices 4 --out ct_limited_angle.png
"""

from ct_sparse_view import Scan, main

SCANS = {f"{degrees} degrees": Scan(2 * degrees // 3, float(degrees)) for degrees in (90, 120, 150)}

if __name__ == "__main__":
    main(SCANS, __doc__)
