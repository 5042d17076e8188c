"""Late arrivals of flights from Seattle and Portland."""
