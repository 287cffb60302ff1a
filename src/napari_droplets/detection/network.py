"""The recognition network: an image in, droplets with uncertainties per cell of 2 x 2 pixels out; and its weights file.

Every output is a factor of the posterior of one cell: is the centre of a droplet in it, and if so where and how large.
"""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..errors import InputError
from ..lazy import LazyPixels, Pixels
from ..storage.paths import check_file
from ..storage.stored_values import read_tensors

CELL = 2  # pixels
STRIDE = 16  # sides of images must be multiples of it
CHANNELS = (32, 64, 96, 128)  # at strides 2, 4, 8 and 16
OUTPUTS = 7  # logit of presence; offset x, y; log radius; log standard deviation of each of the three
TYPICAL_RADIUS = 4.0  # pixels, where the network's log radius starts
GAIN = 0.2  # of the blocks to start with
RARE = -4.0  # logit of presence to start with
LOG_SD = (-4.0, 2.0)  # no standard deviation beyond these, natural logarithms
EPSILON = 1e-3  # intensity 0..1; contrast below it is not amplified …
NOISE = 3.0  # … nor below this many standard deviations of the noise: an empty image looks empty

Params = dict[str, Any]


class Block(nn.Module):
    """Two convolutions added to what comes in; the sum starts out close to it, so no normalisation is needed."""

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], inside: Float[Array, "b h w 1"] | None) -> Float[Array, "b h w c"]:
        change = x
        for _ in range(2):
            change = nn.relu(change) if inside is None else nn.relu(change) * inside
            change = nn.Conv(x.shape[-1], (3, 3))(change)
        return x + self.param("gain", nn.initializers.ones, (x.shape[-1],)) * change


class Recognition(nn.Module):
    """U-Net down to a sixteenth of the resolution, back up to a half."""

    @nn.compact
    def __call__(
        self, images: Float[Array, "b h w 3"], inside: Float[Array, "b h w 1"] | None = None
    ) -> Float[Array, "b h/2 w/2 7"]:
        def mask(level: int) -> Array | None:
            stride = CELL << level
            return None if inside is None else inside[:, ::stride, ::stride]

        x = nn.Conv(CHANNELS[0], (3, 3), name="stem")(_folded(images if inside is None else images * inside))
        levels = []
        for level, channels in enumerate(CHANNELS):
            if level:
                levels.append(x)
                x = nn.Dense(channels, name=f"down_{level}")(_folded(x))
            for i in range(1 if level == 0 else 2):
                x = Block(name=f"encode_{level}_{i}")(x, mask(level))
        for level in reversed(range(len(CHANNELS) - 1)):
            x = nn.Dense(CHANNELS[level], name=f"up_{level}")(x)
            x = Block(name=f"decode_{level}")(levels[level] + _doubled(x), mask(level))
        x = nn.relu(nn.Dense(CHANNELS[0], name="head")(nn.relu(x)))
        out = nn.Dense(OUTPUTS, name="out")(x)
        start = jnp.array([RARE, 0, 0, np.log(TYPICAL_RADIUS), 0, 0, -1], jnp.float32)
        out = out + start
        return jnp.concatenate([out[..., :4], jnp.clip(out[..., 4:], *LOG_SD)], -1)


def _folded(x: Array) -> Array:
    """Half the resolution, four times the channels: nothing is lost."""
    b, h, w, c = x.shape
    return x.reshape(b, h // 2, 2, w // 2, 2, c).transpose(0, 1, 3, 2, 4, 5).reshape(b, h // 2, w // 2, 4 * c)


def _doubled(x: Array) -> Array:
    b, h, w, c = x.shape
    return jnp.broadcast_to(x[:, :, None, :, None], (b, h, 2, w, 2, c)).reshape(b, 2 * h, 2 * w, c)


def init(seed: int = 0) -> Params:
    """Fresh weights, drawn with NumPy, for which nothing needs to be compiled.

    Kernels are normal with variance 2 / inputs (He), biases 0, the blocks' gains 0.2; the last kernel is small, so that
    all cells start from the same rare droplet of typical size.
    """
    from flax.traverse_util import flatten_dict, unflatten_dict

    rng = np.random.default_rng(seed)
    params = {}
    for path, shape in flatten_dict(shapes()).items():
        value = np.full(shape.shape, GAIN if path[-1] == "gain" else 0.0)
        if path[-1] == "kernel":
            scale = 0.01 if path[0] == "out" else np.sqrt(2 / np.prod(shape.shape[:-1]))
            value = scale * rng.standard_normal(shape.shape)
        params[path] = jnp.asarray(value, jnp.float32)
    return unflatten_dict(params)


def shapes() -> Params:
    """Shapes and types of the weights."""
    image = jax.ShapeDtypeStruct((1, STRIDE, STRIDE, 3), jnp.float32)
    return jax.eval_shape(lambda x: Recognition().init(jax.random.key(0), x), image)["params"]


def apply(
    params: Params, images: Float[Array, "b h w 3"], inside: Float[Array, "b h w 1"] | None = None
) -> Float[Array, "b h/2 w/2 7"]:
    """Outputs of all cells for normalized images whose sides are multiples of 16 pixels.

    With `inside` (1 in the image, 0 in the padding around it) outputs are those of the image without its padding.

    Last axis: logit of the probability that a droplet's centre is in the cell; offset x, y of the centre from the
    cell's, pixels; log of the radius, pixels; log standard deviations of x, y (pixels) and of the log radius.
    """
    return Recognition().apply({"params": params}, images, inside)


def normalized(pixels: Pixels, counted: np.ndarray | None = None) -> Pixels:
    """Image as the network sees it: (H, W, 1 or 3) in 0..1 to (H, W, 3) float32, median 0, contrast 1.

    Read by parts where the image is. One contrast for all channels, so that colors stay; the root mean square distance
    from the median color. Of the pixels `counted` (H, W), by default all.
    """
    step = max(1, int(np.sqrt(pixels.shape[0] * pixels.shape[1] / 100_000)))
    rows = pixels[::step]
    some = rows[:, ::step].reshape(-1, pixels.shape[-1])
    if counted is not None and counted[::step, ::step].any():
        some = some[counted[::step, ::step].ravel()]
    middle = np.median(some, 0)
    # a pixel minus the mean of its left and right neighbor has 1.5 times the noise's variance
    second = (rows[:, 1:-1] - (rows[:, :-2] + rows[:, 2:]) / 2)[:, ::step]
    if counted is not None:
        known = counted[::step, 1:-1][:, ::step]
        second = second[known] if known.any() else second
    noise = np.median(np.abs(second)) / 0.6745 / np.sqrt(1.5)
    contrast = max(float(np.sqrt(np.mean((some - middle) ** 2))), NOISE * float(noise), EPSILON)

    def change(part: np.ndarray) -> np.ndarray:
        return np.broadcast_to((part - middle) / contrast, (*part.shape[:2], 3)).astype(np.float32)

    return pixels.map(change, 3) if isinstance(pixels, LazyPixels) else change(pixels)


def write_weights(params: Params, path: str | Path, about: dict[str, str]) -> None:
    """Save weights, as float16, and strings about them."""
    from flax.traverse_util import flatten_dict
    from safetensors.numpy import save

    from ..results.files import write_whole

    flat = {name: np.asarray(value, np.float16) for name, value in flatten_dict(params, sep=".").items()}
    content = save(flat, metadata=about)
    write_whole(Path(path), lambda p: p.write_bytes(content))


def read_weights(path: str | Path) -> tuple[Params, dict[str, str]]:
    """Weights, float32, and what the file says about them.

    Raises
    ------
    InputError
        The file is missing, damaged or of another network.
    """
    check_file(path, wanted="weights")
    return _read_weights(str(path), os.stat(path).st_mtime_ns)


@lru_cache(maxsize=4)
def _read_weights(path: str, written: int) -> tuple[Params, dict[str, str]]:
    """Read once, and anew when the file has been written since."""
    from flax.traverse_util import flatten_dict, unflatten_dict

    kinds = "F16", "F32"
    tensors, about = read_tensors(Path(path), "cannot be read as weights of the recognition network", kinds)
    flat = {name: np.asarray(value, np.float32) for name, value in tensors.items()}
    wanted = flatten_dict(shapes(), sep=".")
    if {k: v.shape for k, v in flat.items()} != {k: v.shape for k, v in wanted.items()}:
        raise InputError(f"{path}: weights of another network; train them anew with `napari-droplets train`")
    if damaged := [name for name, value in flat.items() if not np.isfinite(value).all()]:
        raise InputError(f"{path}: damaged weights: {damaged[0]} is not finite; put back the file as it was")
    return unflatten_dict(flat, sep="."), about
