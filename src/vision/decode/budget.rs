//! A bound on the pixels that are in memory at once.

use parking_lot::{Condvar, Mutex};

/// Decoded pixels that all threads together may hold while they decode.
///
/// A caller waits until its image fits. An image beyond the whole budget waits for all others and then goes alone.
#[derive(Debug)]
pub(in crate::vision) struct PixelBudget {
    total: u64,
    free: Mutex<u64>,
    freed: Condvar,
}

/// Pixels taken from a budget; given back when dropped.
pub(super) struct Held<'a> {
    budget: &'a PixelBudget,
    pixels: u64,
}

impl PixelBudget {
    pub(in crate::vision) fn new(total: u64) -> Self {
        Self {
            total,
            free: Mutex::new(total),
            freed: Condvar::new(),
        }
    }

    /// Waits for `pixels`. Whoever holds pixels must not wait for anything else, or all may wait for ever.
    pub(super) fn take(&self, pixels: u64) -> Held<'_> {
        let pixels = pixels.min(self.total);
        let mut free = self.free.lock();
        self.freed.wait_while(&mut free, |free| *free < pixels);
        *free -= pixels;
        Held { budget: self, pixels }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        *self.budget.free.lock() += self.pixels;
        self.budget.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn never_holds_more_than_the_total_and_lets_giants_pass() {
        let budget = PixelBudget::new(100);
        let (now, most) = (AtomicU64::new(0), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for thread in 0..4_u64 {
                let (budget, now, most) = (&budget, &now, &most);
                scope.spawn(move || {
                    for i in 0..200 {
                        let held = budget.take((thread * 37 + i * 13) % 150);
                        most.fetch_max(
                            now.fetch_add(held.pixels, Ordering::SeqCst) + held.pixels,
                            Ordering::SeqCst,
                        );
                        now.fetch_sub(held.pixels, Ordering::SeqCst);
                    }
                });
            }
        });
        assert!(most.into_inner() <= 100);
        assert_eq!(*budget.free.lock(), 100);
    }
}
