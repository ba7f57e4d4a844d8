//! Files below a folder.

use std::fs;
use std::path::Path;

/// Shows the bytes of each file below a folder, with its path; gives their number.
pub fn each_file(folder: &Path, see: &dyn Fn(&str, &[u8])) -> usize {
    let mut files = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files += each_file(&path, see);
        } else {
            see(&path.display().to_string(), &fs::read(&path).unwrap());
            files += 1;
        }
    }
    files
}
