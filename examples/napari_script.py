"""
Fit from a script
=================

Fit the sample without a click and look at the result in napari. ``fit_layer`` does what the Run button does; it takes
the settings of ``napari_droplets.fit`` and waits for the end.
"""

import napari

from napari_droplets.plugin.layers import fit_layer

viewer = napari.Viewer()
[image] = viewer.open_sample("napari-droplets", "sample")
result = fit_layer(viewer, image, types=3, steps=1000)

print(result.table.describe().loc[["mean", "std"], ["x", "y", "radius"]])

# %%
# The Points layer holds the table, to be corrected by hand and saved as CSV (File > Save Selected Layers).
points = viewer.layers["sample droplets"]
print(points.features.head())

# %%
# The widget itself offers its buttons to scripts, too: ``run``, ``detect``, ``refit``, ``cancel`` return at once, and
# ``busy`` tells when the work is done.
_, widget = viewer.window.add_plugin_dock_widget("napari-droplets")

if __name__ == "__main__":
    napari.run()
