"""
Correct by hand and refit
=========================

No detection is perfect. What you add, move or remove in the table (or with the mouse in napari) stays as you made it:
``refit`` infers the composition of new droplets and adapts their surroundings, and leaves everything else as it was.
"""

import numpy as np
import pandas as pd

import napari_droplets as nd

image, truth = nd.simulate((120, 160), 50, seed=3)
result = nd.fit(image, steps=400)
print(len(result.droplets), "droplets found,", len(truth), "are there")

# %%
# Add the true droplet that is farthest from all found ones, as if it had been missed, and remove the first row.
found = result.table
distance = np.hypot(truth.x[:, None] - found.x.to_numpy(), truth.y[:, None] - found.y.to_numpy()).min(axis=1)
missed = int(np.argmax(distance))
added = pd.DataFrame({"x": [truth.x[missed]], "y": [truth.y[missed]], "radius": [truth.radius[missed]]})
edited = pd.concat([found.drop(index=0), added], ignore_index=True)

corrected = nd.refit(result, edited)
print(corrected.summary["refit"])

# %%
# The new droplet is pinned: it has no standard deviations of place and size, since you gave these. Its composition was
# inferred.
corrected.table.tail(1).round(2)

# %%
# Droplets out of reach of the corrections are untouched, to the last digit.
unchanged = pd.merge(found, corrected.table, on=["x", "y", "radius"])
print(len(unchanged), "of", len(found), "droplets as they were")
