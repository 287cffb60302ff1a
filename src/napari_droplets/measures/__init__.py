"""What tables of droplets say: sizes drawn from the posterior, statistics of a sample, further channels."""
