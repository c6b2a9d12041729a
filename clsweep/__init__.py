"""Fair stability/plasticity fronts for continual-learning methods, as Ray Tune sweeps."""
