//! Credentials changed over the API: the book, the record, the effect, in this order.

use super::exit::with_causes;
use super::keeper::Keeper;
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
        Box::pin(self.change(by.clone(), move |book, now| {
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
        Box::pin(self.change(by.clone(), move |book, now| {
            let grace = SignedDuration::try_from(grace).unwrap_or(SignedDuration::MAX);
            let until = now.checked_add(grace).unwrap_or(Timestamp::MAX);
            book.rotate(&id, until, &by.actor(), now)
        }))
    }

    fn revoke(&self, id: String, by: Principal) -> Keeping<'_, Credential> {
        Box::pin(async move {
            let (asked, actor) = (id.clone(), by.actor());
            let revoked = self.change(by, move |book, now| book.revoke(&asked, &actor, now)).await;
            if let Err(KeyringError::Book(BookError::Io { .. })) = &revoked {
                // It cannot be written down, so it would come back with a restart; but not before.
                self.refuse(&id);
            }
            revoked
        })
    }
}

impl Keeper {
    async fn change<T: Send + 'static>(
        &self,
        by: Principal,
        change: impl FnOnce(&mut Book, Timestamp) -> Result<T, BookError> + Send + 'static,
    ) -> Result<T, KeyringError> {
        let dir = self.dir().to_owned();
        let changed = tokio::task::spawn_blocking(move || {
            Book::change(&dir, |book| {
                let (now, own) = (Timestamp::now(), by.credential());
                book.demand_active(own.map(|own| own.id.as_str()), now)?;
                change(book, now)
            })
        });
        let broken = |_| KeyringError::NotRecorded("the change did not come to its end".to_owned());
        let answer = changed.await.map_err(broken)??;
        match self.look().await {
            Ok(()) => Ok(answer),
            Err(error) => Err(KeyringError::NotRecorded(format!(
                "{}. The change stands in the book and takes effect when it is on record.",
                with_causes(&error)
            ))),
        }
    }
}
