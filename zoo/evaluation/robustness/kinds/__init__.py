"""The common corruptions, by family; every module here is found by the registry of `zoo.evaluation.robustness.definition`."""
