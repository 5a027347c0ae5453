"""Settings of every test: hypothesis tries the same examples each time, and a busy machine fails none."""

from hypothesis import settings
from small_fit import fitted_model, fitted_path, fitted_table

__all__ = ["fitted_model", "fitted_path", "fitted_table"]  # fixtures: one quick fit for all tests

settings.register_profile("fixed", derandomize=True, deadline=None)
settings.load_profile("fixed")
