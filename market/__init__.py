"""The simulated market: bars, books, order flow, venues, schedules. numpy and numba alone."""
