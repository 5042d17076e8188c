"""Resale prices of public-housing flats in Singapore."""
