"""The stylised facts of a market, measured on recordings of it: numpy alone."""

from market.facts.intervals import Estimate, power_law_exponent
from market.facts.sample import Sample, check, pooled
from market.facts.table import Fact, ImpactSample, facts, facts_of, impact_facts

__all__ = [
    "Estimate",
    "Fact",
    "ImpactSample",
    "Sample",
    "check",
    "facts",
    "facts_of",
    "impact_facts",
    "pooled",
    "power_law_exponent",
]
