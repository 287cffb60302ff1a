# ruff: noqa: B018 (the last line of a cell is what it shows)
"""A marimo notebook of one image: marimo edit notebook.py, or python notebook.py for all cells at once."""

import marimo

app = marimo.App(width="medium")


@app.cell
def _():
    import marimo as mo

    import napari_droplets as nd

    return mo, nd


@app.cell
def _(nd):
    image, truth = nd.simulate((128, 128), 30, radius=5, types=3, seed=3)  # or nd.read_image("slide.tif")
    fit = nd.fit(image, types=3, pixel_size_um=0.5)
    return fit, image, truth


@app.cell
def _(fit, mo):
    mo.ui.table(fit.table.round(3))
    return


@app.cell
def _(fit, nd):
    sizes = nd.plot.sizes(fit)
    sizes.figure
    return (sizes,)


@app.cell
def _(fit, nd):
    composition = nd.plot.simplex(fit)
    composition.figure
    return (composition,)


@app.cell
def _(fit, mo, nd):
    mo.md(f"""```\n{nd.statistics(fit)}\n```""")
    return


if __name__ == "__main__":
    app.run()
