"""
What droplets are made of
=========================

Compositions are inferred without anyone telling which color is which substance. They group droplets that look alike,
whatever their size and wherever the light is brighter; the order and the scale of the components mean nothing by
themselves. Droplets of known content give them a meaning.
"""

import matplotlib.pyplot as plt
import numpy as np

import napari_droplets as nd
from napari_droplets.compare import match
from napari_droplets.plot.colors import composition_colors

image, truth = nd.simulate((120, 160), 50, seed=5)
result = nd.fit(image, types=3, steps=400)
droplets = result.droplets

# %%
# Two of the three components, each droplet with its standard deviations, in the color that napari shows it in.
colors = composition_colors(droplets.composition)
first, second = droplets.composition[:, 0], droplets.composition[:, 1]
plt.errorbar(
    first, second, droplets.composition_sd[:, 1], droplets.composition_sd[:, 0], "none", ecolor="0.8", zorder=0
)
plt.scatter(first, second, 20, colors, edgecolor="0.3", linewidth=0.5)
plt.xlabel("composition_0")
plt.ylabel("composition_1")
plt.show()

# %%
# Calibrate: a linear map from the logits of the inferred components to known fractions, learned on half of the
# droplets and tried on the others. Here the truth of the simulation stands for droplets of known content.
known, found = match(truth, droplets)
inferred = np.clip(droplets.composition[found], 0.01, 0.99)
design = np.column_stack([np.log(inferred / (1 - inferred)), np.ones(len(found))])
train = np.arange(len(found)) % 2 == 0
weights = np.linalg.lstsq(design[train], truth.composition[known[train]], rcond=None)[0]
predicted = design[~train] @ weights
actual = truth.composition[known[~train]]

for k in range(3):
    plt.scatter(actual[:, k], predicted[:, k], 15, label=f"dye {k}")
plt.plot([0, 1], [0, 1], color="0.6", linewidth=1)
plt.xlabel("true fraction")
plt.ylabel("predicted fraction")
plt.legend()
plt.show()

# %%
# How much of the variance of each dye is explained, on droplets that the map has not seen.
for k in range(3):
    print(f"dye {k}: {1 - np.var(predicted[:, k] - actual[:, k]) / np.var(actual[:, k]):.2f}")
