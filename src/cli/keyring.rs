//! Credentials changed over the API: the book, the record, the effect, in this order.

use super::exit::with_causes;
use super::keeper::{Keeper, KeeperError};
use crate::access::{Book, BookError, Credential, NewCredential, Principal, Token};
use crate::api::{Keeping, Keyring, KeyringError};
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;

impl Keyring for Keeper {
    fn create(
        &self,
        new: NewCredential,
        knows_first: bool,
        by: Principal,
    ) -> Keeping<'_, (Credential, Option<Token>)> {
        Box::pin(self.change(move |book, now| {
            book.check_first(new.role, knows_first)?;
            book.create(new, &by.actor(), now)
        }))
    }

    fn rotate(
        &self,
        id: String,
        grace: Duration,
        by: Principal,
    ) -> Keeping<'_, (Credential, Token)> {
        Box::pin(self.change(move |book, now| {
            let grace = SignedDuration::try_from(grace).unwrap_or(SignedDuration::MAX);
            let until = now.checked_add(grace).unwrap_or(Timestamp::MAX);
            book.rotate(&id, until, &by.actor(), now)
        }))
    }

    fn revoke(&self, id: String, by: Principal) -> Keeping<'_, Credential> {
        Box::pin(self.change(move |book, now| book.revoke(&id, &by.actor(), now)))
    }
}

impl Keeper {
    async fn change<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Book, Timestamp) -> Result<T, BookError> + Send + 'static,
    ) -> Result<T, KeyringError> {
        let dir = self.dir().to_owned();
        let changed = tokio::task::spawn_blocking(move || {
            Book::change(&dir, |book| change(book, Timestamp::now()))
        });
        let broken = |_| KeyringError::NotRecorded("the change did not come to its end".to_owned());
        let answer = changed.await.map_err(broken)??;
        match self.look().await {
            Ok(()) => Ok(answer),
            Err(KeeperError::Book(error)) => Err(error.into()),
            Err(error) => Err(KeyringError::NotRecorded(format!(
                "{}. The change stands in the book and takes effect when it is on record.",
                with_causes(&error)
            ))),
        }
    }
}
