//! A throw-away data folder, and addresses that are free.

use super::DemoError;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

/// A data folder that is removed when this value is dropped.
#[derive(Debug)]
pub struct ThrowAwayDir {
    path: PathBuf,
}

impl ThrowAwayDir {
    /// A new folder among the system's temporary ones, for the user alone (0700). Its name cannot
    /// be guessed, and it is never one that was there already.
    ///
    /// # Errors
    /// [`DemoError::Folder`].
    pub fn create() -> Result<Self, DemoError> {
        use std::os::unix::fs::DirBuilderExt as _;
        let parent = std::env::temp_dir();
        let failed = |source| DemoError::Folder { parent: std::env::temp_dir(), source };
        let random = getrandom::u64().map_err(|error| failed(std::io::Error::other(error)))?;
        let path = parent.join(format!("spanledger-demo-{random:016x}"));
        std::fs::DirBuilder::new().mode(0o700).create(&path).map_err(failed)?;
        Ok(Self { path })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for ThrowAwayDir {
    fn drop(&mut self) {
        // The end of a demo is no place to fail: what is left lies among temporary files.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// The address, or the same one with a free port when it is taken.
pub fn free_or_default(address: SocketAddr) -> SocketAddr {
    match TcpListener::bind(address) {
        Ok(_) => address,
        Err(_) => SocketAddr::new(address.ip(), 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_private_and_gone_in_the_end() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = ThrowAwayDir::create().unwrap();
        let path = folder.path().to_owned();
        std::fs::write(path.join("file"), "x").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        drop(folder);
        assert!(!path.exists());
    }

    #[test]
    fn a_taken_port_gives_way_to_a_free_one() {
        let held = TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = held.local_addr().unwrap();
        assert_eq!(free_or_default(taken), SocketAddr::new(taken.ip(), 0));
    }
}
