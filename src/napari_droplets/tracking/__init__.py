"""Droplets in time: identities, merging and splitting, rates; and simulated movies to judge them by."""
