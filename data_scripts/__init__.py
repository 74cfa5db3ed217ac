"""Scripts that make data: the toy data, and from archives of the four real data sets folders that nasda reads."""
