"""What every network runs on: device, number formats, CUDA graphs, copies, noise, memory, torch's errors."""
