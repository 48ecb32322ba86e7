"""Whether a policy is any good: metrics, significance, backtests and the report on them."""
