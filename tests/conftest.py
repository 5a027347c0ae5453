"""Settings of every test: hypothesis tries the same examples each time, and a busy machine fails none."""

from hypothesis import settings
from rich_fit import rich_model
from small_fit import fitted_model, fitted_path, fitted_table

__all__ = ["fitted_model", "fitted_path", "fitted_table", "rich_model"]  # fixtures: quick fits for all tests

settings.register_profile("fixed", derandomize=True, deadline=None)
settings.load_profile("fixed")
