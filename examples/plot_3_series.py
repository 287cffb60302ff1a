"""
A series of images and its size distribution
============================================

Many images of one experiment: the optics learned on the first are where the others start. For a folder of files,
``napari-droplets batch`` writes the same tables.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import napari_droplets as nd

images = [nd.simulate((120, 160), 50, seed=seed, pixel_size_um=0.8)[0] for seed in (1, 2, 3)]

tables, optics = [], None
for number, image in enumerate(images):
    result = nd.fit(image, optics=optics, steps=400, pixel_size_um=0.8)
    optics = optics or result.optics
    tables.append(result.table.assign(image=number))
droplets = pd.concat(tables, ignore_index=True)
droplets.groupby("image").radius_um.describe().round(2)

# %%
# Diameters of all images. The error bars are what counting alone leaves open, the square root of the count; how sure
# each single radius is stands in ``radius_sd``.
diameter = 2 * droplets.radius_um
counts, edges = np.histogram(diameter, bins=15)
middle = (edges[:-1] + edges[1:]) / 2
plt.bar(middle, counts, width=np.diff(edges), color="#61a5c2", edgecolor="white", yerr=np.sqrt(counts), capsize=2)
plt.xlabel("diameter (µm)")
plt.ylabel("droplets")
plt.show()

# %%
# Weighted by volume, few large droplets decide.
volume = diameter**3
print(f"median diameter {diameter.median():.2f} µm; volume-weighted mean {np.average(diameter, weights=volume):.2f} µm")
