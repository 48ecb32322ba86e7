"""From a collapsed decision to an order: sizes, urgency, types, how each is worked."""
