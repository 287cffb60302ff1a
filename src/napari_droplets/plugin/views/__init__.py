"""Views of the dock widget beside its settings: filters, one droplet, plots."""
