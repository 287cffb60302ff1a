"""Movies in the window: followed with live results, looked at as curves, corrected, saved."""
