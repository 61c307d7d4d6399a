"""Cached pooled features of a frozen backbone."""
