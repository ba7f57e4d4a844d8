//! A witness that we did not write, on a free port: the program of `tests/clients/witness`.

use super::clients;
use super::search_node::free_port;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Output, Stdio};
use tempfile::TempDir;

/// How often another free port is tried when somebody was faster.
const PORT_ATTEMPTS: usize = 5;

/// A running witness. Dropping it kills the process.
pub struct Witness {
    /// Its private key, its database, and the keys of the logs that it knows.
    folder: TempDir,
    address: String,
    key: String,
    child: Option<Child>,
}

impl Witness {
    /// Starts one of that name, which knows no log yet.
    pub fn start(name: &str) -> Self {
        let folder = TempDir::with_prefix("spanledger-test-witness-").unwrap();
        let made = clients::command("witness").args(["key", name]).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let made = String::from_utf8(made.stdout).unwrap();
        let (private, public) = made.trim().split_once('\n').unwrap();
        fs::write(folder.path().join("private"), private).unwrap();
        let mut witness =
            Self { folder, address: String::new(), key: public.to_owned(), child: None };
        for _ in 0..PORT_ATTEMPTS {
            witness.address = format!("127.0.0.1:{}", free_port());
            if witness.launch() {
                return witness;
            }
        }
        panic!("the witness does not start");
    }

    /// `127.0.0.1:PORT`, the same after each start.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The key by which its signatures are checked.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Makes a log known to it by its verifier key; a running one takes it at once.
    pub fn knows(&self, log_key: &str) {
        fs::write(self.folder.path().join("logs"), log_key).unwrap();
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Starts it again with what it knew.
    pub fn start_again(&mut self) {
        assert!(self.launch(), "the witness does not start again");
    }

    /// Opens a note as the witness's own library and Go's `note` do: size and time of the signature.
    pub fn opens(&self, note: &Path, log_key: &str) -> Output {
        let mut command = clients::command("witness");
        command.arg("verify").arg(note).args([log_key, &self.key]).output().unwrap()
    }

    /// Whether it listens.
    fn launch(&mut self) -> bool {
        let file = |name: &str| self.folder.path().join(name);
        let mut child = clients::command("witness")
            .args(["serve", &self.address])
            .args([file("private"), file("database"), file("logs")])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(file("stderr")).unwrap())
            .spawn()
            .unwrap();
        let mut said = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut said).unwrap();
        let listens = said.starts_with("listening ");
        if !listens {
            child.wait().unwrap();
        }
        self.child = listens.then_some(child);
        listens
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.kill();
    }
}
