"""A layer retrained fold by fold, and judged on the part of each that it has not seen."""
