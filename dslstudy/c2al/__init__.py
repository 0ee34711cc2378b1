"""Cohort-contrastive auxiliary learning: cohorts, labels, objective, and the methods it is compared with."""
