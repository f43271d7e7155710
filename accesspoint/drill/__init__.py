"""The drill: two whole nodes live through days of outages in virtual time, and what queued and drained is told and drawn."""
