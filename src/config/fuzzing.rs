//! What `fuzz/` reaches of the configuration.

use super::{Config, ConfigError, Overrides, parse, resolve};

/// The configuration that a file of this text stands for.
///
/// # Errors
/// As for [`Config::load`].
pub fn configuration(text: &str) -> Result<Config, ConfigError> {
    resolve(parse("fuzz.yaml", text)?, &Overrides::default())
}
