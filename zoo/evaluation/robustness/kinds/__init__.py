"""Common corruptions, one module per family. The registry in `zoo.evaluation.robustness.definition` imports all of them."""
