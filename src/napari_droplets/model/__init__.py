"""The generative model: pure JAX and NumPyro; knows no files, tables or progress bars."""
