"""Spam among short messages."""
