//! [`Verified`]: a value that this crate has checked. Nobody else can make one.

use core::ops::Deref;

/// A value whose signatures, hashes and age were checked by this crate.
///
/// There is no public constructor: a function that takes a `Verified<T>` cannot be called with anything else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified<T>(T);

impl<T> Verified<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself; from here on the type says nothing any more.
    pub fn into_inner(self) -> T {
        self.0
    }

    /// What follows from the checked value alone, for example its parsed form.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Verified<U> {
        Verified(f(self.0))
    }

    /// Like [`Verified::map`], where the step may fail.
    pub fn try_map<U, E>(self, f: impl FnOnce(T) -> Result<U, E>) -> Result<Verified<U>, E> {
        f(self.0).map(Verified)
    }
}

impl<T> Deref for Verified<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}
