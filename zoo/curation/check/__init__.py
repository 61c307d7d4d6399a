"""Dataset check: annotation errors, problems of single images, and problems that involve several images.

This package must not import torch at the top level, because every worker process that decodes images imports the package.
"""

from zoo.curation.check.findings import KINDS as KINDS
