//! Configuration: raw (what people write) → resolved (validated types that the process runs on).
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | [`Config`]: defaults, then the file, then flags and environment; validated once |
//! | `raw.rs` | the file as it is written, key by key |
//! | `units.rs` | sizes and durations as people write them |
//! | `yaml.rs` | YAML with line numbers and the nearest known name |

mod raw;
mod units;
pub mod yaml;

pub use units::{Period, Size};
