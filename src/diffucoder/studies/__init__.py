"""Questions about the parts: estimators measured, recipes compared, the paper's claims assessed."""
