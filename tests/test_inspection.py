"""One droplet looked at: pieces of pictures, and what is known in words."""

import numpy as np
import pandas as pd

from napari_droplets.workbench.inspection import facts, half_side, parts, piece, signed_residual


def test_a_piece_has_the_droplet_in_it_and_nothing_beyond_the_border():
    picture = np.arange(30 * 40, dtype=float).reshape(30, 40, 1)
    cut = piece(picture, 10.4, 12.0, 6)
    np.testing.assert_array_equal(cut.pixels, picture[6:19, 4:17])
    assert (cut.x, cut.y) == (6.4, 6.0)
    corner = piece(picture, 0.0, 29.0, 6)
    assert corner.pixels.shape == (13, 13, 1)
    assert np.isnan(corner.pixels[:, :6]).all()
    assert np.isnan(corner.pixels[7:]).all()
    np.testing.assert_array_equal(corner.pixels[:7, 6:], picture[23:, :7])
    assert np.isnan(piece(picture, 500.0, 0.0, 6).pixels).all()
    assert half_side(1.0) == 6
    assert half_side(20.0) == 44


def test_residual_of_noise_alone_has_a_spread_of_one():
    noise = np.random.default_rng(0).normal(0, 0.03, (200, 200, 3))
    assert abs(signed_residual(noise, 0.03).std() - 1) < 0.02


def test_facts_have_units_and_intervals_and_pass_over_what_is_not_known():
    row = pd.Series(
        {
            "x": 12.345,
            "y": 6.0,
            "radius": 5.0,
            "x_sd": 0.1,
            "y_sd": np.nan,
            "radius_sd": 0.25,
            "p_present": 0.97,
            "misfit": np.nan,
            "class": 1.0,
            "class_p": 0.8,
            "edited": True,
            "composition_0": 0.25,
            "composition_0_sd": 0.1,
        }
    )
    told = dict(facts(row))
    assert told["Diameter"] == "10.00 ± 0.98 px"
    assert told["x"] == "12.35 ± 0.20 px" or told["x"] == "12.34 ± 0.20 px"
    assert told["y"] == "6.0 px"
    assert told["Class"] == "1 (80% sure)"
    assert told[""] == "edited"
    assert "Misfit" not in told
    assert dict(facts(row, 0.5))["Diameter"] == "5.00 ± 0.49 µm (10 px)"
    [part] = parts(row)
    assert (part.name, part.share, round(part.error, 3)) == ("component 1", 0.25, 0.196)
    assert parts(row.drop("composition_0")) == []
