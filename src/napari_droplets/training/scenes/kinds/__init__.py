"""The kinds of scenes: each module sketches the light and the truth of one, as `sketch`."""
