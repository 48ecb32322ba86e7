"""What agents read and say: column tables, layouts, observation kernels."""
