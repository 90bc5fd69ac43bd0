"""Training of priors: `train(config, data, state)`, `export(state, out)`, and the configuration they take."""

from invdiff.training.config import Config
from invdiff.training.export import export
from invdiff.training.toml import ConfigError, read_config
from invdiff.training.train import Outcome, train

__all__ = ["Config", "ConfigError", "Outcome", "export", "read_config", "train"]
