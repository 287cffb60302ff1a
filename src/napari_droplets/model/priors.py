"""Numbers of the model and its priors, which the NumPyro model and the densities written by hand share."""

WEIGHT_SD = 1.0
"""Prior standard deviation of the optics network's weights, as published."""
BLUR_MEDIAN, BLUR_LOG_SD = 0.7, 0.7
"""Prior of the blur: log-normal, in pixels."""
PLAIN_PIXELS, GLOW_SD = 50.0, 0.04
"""Prior of the glow: as if so many pixels around each droplet had been seen plain, with this deviation."""
COMMON_SD = (0.05, 0.05, 0.04)
"""Prior standard deviations of what the proposals of one image have in common: shifts in radii, and log factor."""
BRIGHTEST = 2.0
"""Light goes on beyond what a camera shows as white, 1, up to here. Droplets change the logit of a color's part of it:
for most of what a camera shows that is nearly a logarithm, in which absorbances of dyes add up (Beer-Lambert law)."""
