"""Runs in which a chooser takes the place of the clock, and the search through all its choices.

It knows no time that decides anything.
"""
