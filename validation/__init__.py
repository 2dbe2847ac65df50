"""What a job may ask for, and every way it can be refused. Pure data: no numpy, no I/O."""
