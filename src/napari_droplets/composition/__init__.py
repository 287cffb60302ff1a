"""What droplets are made of: components, known compositions and classes; NumPy alone."""
