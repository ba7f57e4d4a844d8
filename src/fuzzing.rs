//! What `fuzz/` reaches of the decoders that are private to their modules: thin functions, behind
//! the feature `fuzzing`, without any promise to anybody else.

pub use crate::config::fuzzing::configuration;
pub use crate::convert::fuzzing::mapping;
pub use crate::elasticsearch::fuzzing::{bulk_reply, late_document, late_replies};
pub use crate::receiver::fuzzing::{Inflated, inflate, unframe};
pub use crate::store::fuzzing::stored_document;
