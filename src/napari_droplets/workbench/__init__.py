"""The session of a workbench without a window: what is shown, doubted, corrected and kept."""
