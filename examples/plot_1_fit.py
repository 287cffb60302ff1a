"""
Fit an image and read the table
===============================

From an image to a table of droplets. The image is the simulated sample that comes with the package, so that the
truth is known; your own is ``nd.fit("photo.tif")``.
"""

import matplotlib.pyplot as plt

import napari_droplets as nd
from napari_droplets.compare import compare
from napari_droplets.plot.overlay import overlay
from napari_droplets.simulate import sample

image, truth = sample()
result = nd.fit(image, types=3, steps=1000)

# %%
# One row per droplet: position and radius in pixels, composition, and the standard deviation of each. See
# :doc:`/results` for the columns.
result.table.round(2).head()

# %%
# The picture that the command line saves as ``overlay.png``: the droplets found, what the model makes of the image, and
# what it leaves unexplained.
figure = overlay(result)
figure.canvas.draw()
plt.figure(figsize=(12, 6.75), layout="tight")
plt.imshow(figure.canvas.buffer_rgba())
plt.axis("off")
plt.show()

# %%
# Where a fit spent its time, and how well it describes the image.
for name in ("n_droplets", "loss_per_value", "rmse", "noise_sd", "steps", "stopped", "seconds"):
    print(name, result.summary[name])

# %%
# Because the image is simulated, what was found can be compared with the truth.
print(compare(truth, result.droplets))
