//! Salts of commitments.
//!
//! Each thread keeps a pool of bytes that the system's generator gave it and hands every byte out
//! once, wiped behind it. So a salt is as good as one call of `getrandom` for itself, at a
//! fraction of its price: nothing is stretched, mixed or derived here. A pool is never shared with
//! a child: the process starts other programs, it does not fork itself.

use std::cell::RefCell;

/// Length of a salt, bytes.
pub(super) const SALT_LEN: usize = 32;

/// Salts that one call of the system fills: 2 KiB, under the size from which Linux may interrupt.
const SALTS: usize = 64;

struct Pool {
    bytes: [[u8; SALT_LEN]; SALTS],
    left: usize,
}

thread_local! {
    static POOL: RefCell<Pool> = const {
        RefCell::new(Pool { bytes: [[0; SALT_LEN]; SALTS], left: 0 })
    };
}

/// A fresh salt.
///
/// # Errors
/// When the system gives no random bytes.
pub(super) fn salt() -> Result<[u8; SALT_LEN], getrandom::Error> {
    POOL.with_borrow_mut(|pool| {
        if pool.left == 0 {
            getrandom::fill(pool.bytes.as_flattened_mut())?;
            pool.left = SALTS;
        }
        pool.left = pool.left.saturating_sub(1);
        Ok(pool.bytes.get_mut(pool.left).map(std::mem::take).unwrap_or_default())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn no_salt_is_given_twice_and_none_is_empty() {
        let salts = || (0..1_000).map(|_| salt().unwrap()).collect::<Vec<_>>();
        let other = std::thread::spawn(salts).join().unwrap();
        let all: HashSet<_> = salts().into_iter().chain(other).collect();
        assert_eq!(all.len(), 2_000);
        assert!(!all.contains(&[0; SALT_LEN]));
    }
}
