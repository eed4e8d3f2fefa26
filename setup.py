"""All metadata lives in pyproject.toml; this file keeps `python setup.py` habits working."""

from setuptools import setup

setup()
