"""Settings of every test: hypothesis tries the same examples each time, and a busy machine fails none."""

from hypothesis import settings

settings.register_profile("fixed", derandomize=True, deadline=None)
settings.load_profile("fixed")
