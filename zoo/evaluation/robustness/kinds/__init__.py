"""The common corruptions by family; the registry of `zoo.evaluation.robustness.definition` imports every module of this package."""
