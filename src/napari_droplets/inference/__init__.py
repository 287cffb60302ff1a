"""From an image to droplets with uncertainties: proposals, variational inference, posterior."""
