//! What `fuzz/` reaches of the mappings.

use super::{MappingError, Mappings};

/// Mappings of one file with this text.
///
/// # Errors
/// As for [`Mappings::load`].
pub fn mapping(text: &str) -> Result<Mappings, MappingError> {
    Mappings::of(&[("fuzz.yaml".to_owned(), text.to_owned())])
}
