"""The paper's experiments, one module each.

Each has a TITLE and `write(lab, plots)`, which does the steps that are not done yet and gives the lines of its section and
the steps that the figures come from.
"""

from . import figure2, figure3, svd, svm, table4, table5, table6, table7

ALL = {
    "table4": table4,
    "figure2": figure2,
    "table5": table5,
    "table6": table6,
    "table7": table7,
    "svm": svm,
    "figure3": figure3,
    "svd": svd,
}
