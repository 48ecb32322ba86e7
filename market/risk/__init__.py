"""Risk rules: value at risk, what every order is judged by, and backtests of it."""
