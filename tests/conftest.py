"""For every test: property tests draw the same examples on every run, so that the gate says the same thing twice.

``pytest --hypothesis-profile=default`` draws new ones.
"""

from hypothesis import settings

settings.register_profile("fixed", derandomize=True)
settings.load_profile("fixed")
