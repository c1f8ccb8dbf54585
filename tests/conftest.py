"""Settings of all tests: property tests are seeded and have no time limit of their own."""

from hypothesis import settings

settings.register_profile("trustad", deadline=None, derandomize=True)
settings.load_profile("trustad")
