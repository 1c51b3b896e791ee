"""Makers of labelled training material, one file for each kind."""
