"""Measures, EC57, confidence, reports and figures; nothing of it needs torch."""
