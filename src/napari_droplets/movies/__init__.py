"""Movies: frames fitted one after another, followed by `tracking`; and movies with known truth."""
