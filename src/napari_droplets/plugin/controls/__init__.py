"""What the panel is made of: its controls, its settings, its words."""
