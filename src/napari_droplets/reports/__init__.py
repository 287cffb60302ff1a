"""The report of a series: one page, and its figures as files."""

from .api import report as report
