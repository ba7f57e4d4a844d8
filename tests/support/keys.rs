//! Credentials of a data folder, made as `spanledger keys create` makes them.

use jiff::Timestamp;
use spanledger::access::{ACCESS_FOLDER, Book, Credential, NewCredential, Role, Tenant, Token};
use std::path::Path;

/// What a key of a role is; `of` is passed over for a role of the installation.
pub fn new(role: Role, of: &str) -> NewCredential {
    let tenant = (!role.is_global()).then(|| Tenant::new(of).unwrap());
    NewCredential::new(format!("{role} of {of}"), role, tenant)
}

/// Makes it, and its token when it is a key.
pub fn make(data: &Path, new: NewCredential) -> (Credential, Option<Token>) {
    let dir = data.join(ACCESS_FOLDER);
    Book::change(&dir, |book| book.create(new, "os:tester", Timestamp::now())).unwrap()
}

/// Makes a key.
pub fn create(data: &Path, new: NewCredential) -> (Credential, Token) {
    let (credential, token) = make(data, new);
    (credential, token.expect("a key"))
}
