"""Presets: settings that can be used, and that undo one another."""

import pytest

from napari_droplets.errors import InputError
from napari_droplets.presets import KEYS, PRESETS, preset_settings
from napari_droplets.settings import Settings


@pytest.mark.parametrize("name", PRESETS)
def test_each_preset_is_settings_that_can_be_used(name):
    settings = preset_settings(name)
    assert set(settings) == set(KEYS)
    Settings(**settings)
    assert PRESETS[name].about


def test_the_first_preset_is_the_default_and_another_name_is_refused():
    assert Settings(**preset_settings("aerosol")) == Settings()
    with pytest.raises(InputError, match="'foam'"):
        preset_settings("beer")
