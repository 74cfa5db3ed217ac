"""Scripts that make data: the toy data, and the folders of real data sets that nasda reads."""
